//! A kill, a full disk or a failing one at each call that changes a device.

use super::{MARK, Slot, assert_image, image};
use kit::bench::Bench;
use kit::debian;
use kit::process::is_root;

const SIZE: usize = 2 << 20;
/// The calls that change a device or make changes durable.
const CALLS: [&str; 3] = ["pwrite64", "fdatasync", "fallocate"];
const FAULTS: [&str; 4] = ["signal=KILL", "error=EIO", "error=ENOSPC", "signal=TERM"];

/// Breaks the n-th call of this name. Returns false if the run has fewer calls.
fn is_broken(bench: &Bench, name: &str, call: usize, fault: &str) -> bool {
    let case = format!("{fault} at {name} {call}");
    let (before, mut content) = (image(9, SIZE), image(1, SIZE - 100));
    content[1 << 20..(1 << 20) + 300_000].fill(0);
    let slot = Slot::new(bench, SIZE, 512, &before);
    let digest = bench.registry.put_blob("fw", &content);
    let name_of_blob = format!("{}@{digest}", bench.registry.name("fw"));
    let target = slot.arg();
    let args = [&["blob", &name_of_blob, "-o", &target], slot.options()].concat();
    let inject = format!("inject={name}:{fault}:when={call}");
    let log = bench.home.arg("trace");
    let trace = format!("trace={name}");
    let under = ["strace", "-f", "-o", &log, "-P", &target, "-e", &trace, "-e", &inject];
    let outcome = bench.home.pullet(&args).under(&under).run();
    let is_hit = outcome.code != 0 || std::fs::read_to_string(&log).unwrap().contains("INJECTED");
    if outcome.code > 0 {
        // A device that cannot punch holes gets zeros written.
        let code = if fault == "signal=TERM" { 143 } else { 9 };
        outcome.exits_in(&case, code).fails_in_one_line();
    }
    let left = slot.content();
    let is_valid = if left[..4096] == before[..4096] {
        left == before
    } else if left[..4096] == content[..4096] {
        left.starts_with(&content)
    } else {
        left.starts_with(MARK)
    };
    assert!(is_valid, "{case}: a valid head over a mixed body");
    slot.write(bench, &digest, &[]).exits_in(&case, 0);
    assert_image(&case, &slot, &content, &before);
    is_hit
}

#[test]
fn a_fault_at_any_call_leaves_the_old_image_or_no_valid_head() {
    debian::command("strace");
    let bench = Bench::new();
    for fault in FAULTS {
        let mut hits = 0;
        for name in CALLS {
            hits += (1..).take_while(|call| is_broken(&bench, name, *call, fault)).count();
        }
        // A signal that comes with the last call stops nothing.
        let least = if is_root() && fault != "signal=TERM" { 9 } else { 5 };
        assert!(hits >= least, "{fault}: only {hits} calls");
    }
}

#[test]
fn a_target_that_refuses_direct_writes_is_written_through_the_cache() {
    debian::command("strace");
    let bench = Bench::new();
    let (before, content) = (image(9, SIZE), image(1, SIZE - 100));
    let digest = bench.registry.put_blob("fw", &content);
    for inject in ["inject=pwrite64:error=EINVAL:when=1", "inject=fcntl:error=EINVAL"] {
        let slot = Slot::new(&bench, SIZE, 512, &before);
        let name = format!("{}@{digest}", bench.registry.name("fw"));
        let target = slot.arg();
        let args = [&["blob", &name, "-o", &target, "--readback"], slot.options()].concat();
        let under = ["strace", "-f", "-o", "/dev/null", "-P", &target, "-e", inject];
        bench.home.pullet(&args).under(&under).run().exits_in(inject, 0).says("Readback: cached");
        assert_image(inject, &slot, &content, &before);
    }
}
