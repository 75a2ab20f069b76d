//! `--progress-fd`: progress on a descriptor that the parent process has opened.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use kit::bench::Bench;
use kit::image::Image;

/// The option for descriptor 3.
const FD: [&str; 2] = ["--progress-fd", "3"];

/// Makes the call fail that copies a descriptor, as before Linux 5.6.
const OLD_KERNEL: &str =
    "exec strace -f -qq -o /dev/null -e trace=pidfd_getfd -e inject=pidfd_getfd:error=ENOSYS \"$@\"";
/// As the system call filter of container engines does.
const FILTER: &str = "exec strace -f -qq -o /dev/null -e trace=pidfd_open -e inject=pidfd_open:error=EPERM \"$@\"";

/// Both ways to reach a descriptor.
const WAYS: [&str; 3] = ["exec \"$@\"", OLD_KERNEL, FILTER];

fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    (bench, name)
}

#[test]
fn progress_goes_to_a_file_behind_what_it_has() {
    for way in WAYS {
        let (bench, name) = bench();
        bench.home.write("events", "before\n");
        let pullet = bench.home.pullet(&[&["pull"], &FD[..], &[&name]].concat());
        let outcome = pullet.through_shell("exec \"$@\" 3>>events").through_shell(way).run().exits_in(way, 0);
        assert_eq!(outcome.stderr, "", "{outcome}");
        assert!(outcome.stdout.ends_with(&format!("\n{name}\n")), "{outcome}");
        let events = fs::read_to_string(bench.home.path("events")).unwrap();
        let lines: Vec<&str> = events.lines().collect();
        assert_eq!(lines[0], "before", "{way}");
        assert!(lines[1].starts_with("{\"event\":\"start\",\"schema\":1,"), "{way}: {events}");
        assert!(lines.last().unwrap().starts_with("{\"event\":\"end\",\"code\":0,"), "{way}: {events}");
    }
}

#[test]
fn progress_goes_to_a_pipe_or_a_socket() {
    for way in WAYS {
        let (bench, name) = bench();
        let pullet = bench.home.pullet(&[&["pull"], &FD[..], &[&name]].concat());
        let outcome = pullet.through_shell("exec \"$@\" 3>&1 >/dev/null").through_shell(way).run().exits_in(way, 0);
        assert!(outcome.stdout.starts_with("{\"event\":\"start\",") && outcome.stderr.is_empty(), "{way}: {outcome}");
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let pullet = bench.home.pullet(&[&["pull"], &FD[..], &[&name]].concat()).stdout(OwnedFd::from(writer));
        let outcome = pullet.through_shell("exec \"$@\" 3>&1 >/dev/null").through_shell(way).run();
        let mut events = String::new();
        reader.read_to_string(&mut events).unwrap();
        if way == WAYS[0] {
            assert!(outcome.exits(0).stderr.is_empty() && events.starts_with("{\"event\":\"start\","), "{events}");
        } else {
            outcome.exits_in(way, 2).fails_in_one_line().says("socket");
            assert_eq!(events, "", "{way}");
        }
    }
}

#[test]
fn a_closed_reader_does_not_end_the_run() {
    for way in WAYS {
        let (bench, name) = bench();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let pullet = bench.home.pullet(&[&["pull"], &FD[..], &[&name]].concat()).stdout(writer);
        let outcome = pullet.through_shell("exec \"$@\" 3>&1 >out").through_shell(way).run().exits_in(way, 0);
        assert_eq!((outcome.stderr.as_str(), bench.home.names()), ("", vec![name.clone()]), "{way}");
        assert!(fs::read_to_string(bench.home.path("out")).unwrap().ends_with(&format!("\n{name}\n")), "{way}");
    }
}

#[test]
fn errors_are_in_both_streams() {
    let (bench, _) = bench();
    let args = ["pull", "--progress-fd=3", &bench.registry.name("missing")];
    let outcome = bench.home.pullet(&args).through_shell("exec \"$@\" 3>events").run().exits(3).fails_in_one_line();
    let events = fs::read_to_string(bench.home.path("events")).unwrap();
    assert!(events.contains("\"word\":\"not-found\""), "{events}{outcome}");
    let args = ["pull", "--progress-fd=3", "--progress", "plain", &bench.registry.name("missing")];
    bench.home.pullet(&args).through_shell("exec \"$@\" 3>events").run().exits(3).fails_in_one_line();
    assert_eq!(fs::read_to_string(bench.home.path("events")).unwrap(), "latest: Pulling from missing\n");
}

#[test]
fn refuses_a_descriptor_that_it_cannot_write_to() {
    for way in WAYS {
        let (bench, name) = bench();
        for (number, redirection, text) in [
            ("3", "3>&-", "the descriptor is not open"),
            ("4294967295", "", "the descriptor is not open"),
            ("-1", "", "expected a number"),
            ("3", "3</dev/null", "the descriptor is not open for writing"),
            ("x", "", "expected a number"),
        ] {
            let script = format!("exec \"$@\" {redirection}");
            let option = format!("--progress-fd={number}");
            let pullet = bench.home.pullet(&["pull", &option, &name]).through_shell(&script).through_shell(way);
            pullet.run().exits_in(&format!("{way}: {number} {redirection}"), 2).prints("").says(text);
        }
        let pullet = bench.home.pullet(&[&["pull", "--progress=none"], &FD[..], &[&name]].concat());
        pullet.through_shell("exec \"$@\" 3>&1").run().exits(2).prints("").says("--progress-fd has no effect");
        assert_eq!(bench.registry.connections(), 0);
    }
}
