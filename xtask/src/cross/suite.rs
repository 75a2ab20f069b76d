//! The core of the integration tests with a binary for another machine: the tests run here and drive it under qemu-user,
//! against registries that run here too.

use std::path::Path;

use super::targets::{Flavour, Target};
use crate::{Result, cargo, debian, shell, show};

/// Topics of tests/it, and the feature that all of one needs, if any. Not among them:
/// - what looks at pullet from outside by strace, or has the kernel refuse it a call (`disk`, `frugal`, `openat2`,
///   `sandbox`), for under an emulator it would see the emulator's calls, and that of Debian 12 knows no Landlock;
/// - what starts pullet by its name in a shell, on a terminal or as another user (`login`, `signals`, `user`), for
///   there it would be the machine's own;
/// - what is the same on every processor: words of the command line, configuration, real images.
const TOPICS: &[(&str, Option<&str>)] = &[
    ("boot::", Some("boot")),
    ("dress::", None),
    ("early::", Some("tls")),
    ("jobs::", None),
    ("large::", None),
    ("limits::", None),
    ("malformed::", None),
    ("merge::", None),
    // Resuming.
    ("patience::", None),
    ("platform::", None),
    ("redirect::", None),
    ("requests::", None),
    ("stream::", None),
    ("tls::", Some("tls")),
    ("unpack::", None),
    ("verify::", None),
    ("whiteout::", None),
];

/// Tests of these topics that need more features than their topic.
const NEEDS: &[(&str, &str)] = &[
    ("jobs::layers_that_arrive_in_any_order_make_the_same_tree", "manage"),
    ("jobs::the_first_failure_by_index_is_told_and_the_rest_is_kept", "manage"),
    ("limits::an_unpack_stops_at_the_limits_that_options_set", "zstd"),
    ("malformed::broken_zstd_is_refused", "zstd"),
    ("jobs::over_tls_too", "tls"),
    ("redirect::from_https_nothing_leads_to_http", "tls"),
    ("requests::over_tls_the_count_is_the_same", "tls"),
    ("requests::pages_of_tags_that_bring_nothing_new_end", "manage"),
    ("tls::the_machines_bundle_is_found", "webpki-roots"),
    ("unpack::zstd_gives_the_same_tree", "zstd"),
    ("verify::an_image_that_changed_in_the_store_is_not_unpacked", "manage"),
    ("verify::diff_ids_are_proven_before_the_tree_is_seen", "zstd"),
];

/// Tests that an emulator breaks and the processor does not: qemu-i386 7.2 dies of a signal to a program with threads,
/// where the same binary passes on the kernel of an x86_64.
const BROKEN: &[(&str, &str)] = &[
    ("qemu-i386", "boot::a_signal_ends_the_wait_and_leaves_nothing_mounted"),
    ("qemu-i386", "jobs::a_signal_reaches_all_of_them"),
    ("qemu-i386", "stream::a_signal_ends_it_and_takes_the_tree_away"),
];

/// What gives an emulator a clock of the time when 32 bits are too few. Not one of these tests looks at another clock.
const LATER: &str = "/usr/bin/env DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 faketime -f +20y";

/// What looks at the clock.
const DATED: &str = "tls::";

pub fn run(target: &Target, flavour: &Flavour, binary: &Path) -> Result {
    debian::need(debian::FOR_TESTS)?;
    println!("{}", show::bold(format!("tests with {}", cargo::shown(binary))));
    if flavour.features.is_empty() {
        drive(target, binary, "", &["--no-default-features", "--test", "without", "--"])?;
    }
    drive(target, binary, "", &[ALL, &filters(flavour, |_| true)].concat())?;
    let dated = filters(flavour, |topic| topic == DATED);
    if target.emulator.is_none() || !dated.contains(&DATED) {
        return Ok(());
    }
    debian::need(&[("faketime", "faketime")])?;
    println!("{}", show::bold("and twenty years later"));
    drive(target, binary, LATER, &[ALL, &dated].concat())
}

const ALL: &[&str] = &["--all-features", "--test", "it", "--"];

/// Runs tests of this machine with a binary that may be of another.
fn drive(target: &Target, binary: &Path, before: &str, words: &[&str]) -> Result {
    let mut runner = before.to_owned();
    if let Some([program, cpu]) = &target.emulator {
        // The tests clear the environment, and with it the places where programs are looked for.
        let program = shell::find(program).ok_or_else(|| format!("{program} is not there"))?;
        runner += &format!(" {} -cpu {cpu}", program.display());
    }
    let mut command = cargo::command(&["test", "--quiet", "--package", "pullet"]);
    let is_ours = |name: &str| target.emulator.as_ref().is_some_and(|[program, _]| program == name);
    let broken = BROKEN.iter().filter(|(emulator, _)| is_ours(emulator));
    command.args(words).args(broken.flat_map(|(_, test)| ["--skip", test]));
    command.env("PULLET_BINARY", binary).env("PULLET_RUNNER", runner);
    command.env("PULLET_ARCHITECTURE", architecture(&target.triple)?);
    shell::watch(&mut command)
}

/// The words that choose, of the topics that are wanted, what a pullet of this flavour can do.
fn filters(flavour: &Flavour, is_wanted: fn(&str) -> bool) -> Vec<&'static str> {
    let has = |feature: &str| flavour.has("default") || flavour.has(feature);
    let topics = TOPICS.iter().filter(|(topic, feature)| is_wanted(topic) && feature.is_none_or(has));
    let lacking = NEEDS.iter().filter(|(_, feature)| !has(feature));
    topics.map(|(topic, _)| *topic).chain(lacking.flat_map(|(test, _)| ["--skip", test])).collect()
}

/// Architecture and variant of a target in the words of images.
fn architecture(triple: &str) -> Result<&'static str> {
    Ok(match triple.split('-').next().unwrap_or_default() {
        "x86_64" => "amd64",
        "i686" => "386",
        "aarch64" => "arm64",
        "armv7" => "arm",
        "arm" => "arm/v6",
        "armv5te" => "arm/v5",
        "riscv64gc" => "riscv64",
        other => return Err(format!("{triple}: nobody has said what images call {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cross::targets;

    #[test]
    fn a_flavour_is_tested_as_far_as_its_features_go() {
        let list = targets::read().unwrap();
        let filters = |name| filters(list.flavour(name).unwrap(), |_| true);
        assert!(filters("full").contains(&"tls::") && !filters("full").contains(&"--skip"));
        assert!(filters("tiny").contains(&"tls::") && filters("tiny").contains(&"--skip"));
        assert!(!filters("tiny-notls").contains(&"tls::"));
    }

    #[test]
    fn every_target_has_its_architecture() {
        for target in targets::read().unwrap().targets {
            assert!(architecture(&target.triple).is_ok(), "{}", target.triple);
        }
        assert!(architecture("sparc64-unknown-linux-gnu").is_err());
    }
}
