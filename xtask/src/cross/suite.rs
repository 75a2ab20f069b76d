//! Runs the core of the integration tests with a cross-compiled binary. The tests and their registries run natively;
//! the binary runs under qemu-user if it needs an emulator.

use std::path::Path;

use super::targets::{Emulation, Flavour, Target};
use crate::{Result, cargo, debian, shell, show};

/// The modules of tests/it that run, each with the feature that all its tests need, if any. Left out are:
/// - tests that run pullet under strace or make the kernel refuse a system call (`disk`, `openat2`, `sandbox`,
///   `system_calls`): they would see the emulator's calls, and the emulator of Debian 12 does not support Landlock;
/// - tests that start pullet by name from a shell, on a terminal or as another user (`login`, `signals`, `user`): they
///   would start the native binary;
/// - tests whose result does not depend on the processor: command line, configuration, real images.
const TOPICS: &[(&str, Option<&str>)] = &[
    ("boot::", Some("boot")),
    ("early::", Some("tls")),
    ("jobs::", None),
    ("large::", None),
    ("limits::", None),
    ("malformed::", None),
    ("merge::", None),
    ("metadata::", None),
    ("platform::", None),
    ("redirect::", None),
    ("requests::", None),
    ("retry::", None),
    ("signatures::", Some("manage")),
    ("stream::", None),
    ("tls::", Some("tls")),
    ("unpack::", None),
    ("verify::", None),
    ("whiteout::", None),
];

/// Tests that need more features than their module.
const NEEDS: &[(&str, &str)] = &[
    ("jobs::the_order_of_arrival_does_not_change_the_tree", "manage"),
    ("jobs::reports_the_failure_with_the_lowest_index_and_keeps_the_rest", "manage"),
    ("limits::unpack_stops_at_the_limits_of_its_options", "zstd"),
    ("malformed::refuses_broken_zstd", "zstd"),
    ("jobs::works_over_tls", "tls"),
    ("platform::null_counts_as_missing_in_indexes_and_configs", "manage"),
    ("platform::the_variable_of_docker_sets_the_default_platform", "manage"),
    ("redirect::never_follows_a_redirect_from_https_to_http", "tls"),
    ("requests::a_next_page_of_another_host_or_scheme_is_requested_at_the_registry", "manage"),
    ("requests::a_page_of_short_strings_is_parsed_in_little_memory", "manage"),
    ("requests::invalid_tags_are_skipped_and_named_in_a_note", "manage"),
    ("requests::makes_the_same_requests_over_tls", "tls"),
    ("requests::pages_without_a_new_tag_do_not_end_the_list", "manage"),
    ("requests::refuses_tag_lists_whose_pages_loop", "manage"),
    ("requests::the_next_page_is_found_among_links_and_parameters_of_any_form", "manage"),
    ("tls::finds_the_certificate_bundle_of_the_machine", "webpki-roots"),
    ("unpack::zstd_gives_the_same_tree", "zstd"),
    ("verify::does_not_unpack_an_image_damaged_in_the_store", "manage"),
    ("verify::verifies_diff_ids_before_the_tree_appears", "zstd"),
];

/// Tests that fail only under an emulator. qemu-i386 7.2 crashes when a program with threads gets a signal; the same
/// binary passes natively on x86_64.
const BROKEN: &[(&str, &str)] = &[
    ("qemu-i386", "boot::a_signal_ends_the_wait_and_leaves_nothing_mounted"),
    ("qemu-i386", "jobs::a_signal_cancels_all_jobs"),
    ("qemu-i386", "stream::a_signal_removes_the_tree"),
    // The emulators do not run within the test's limit of address space.
    ("qemu-aarch64", "requests::a_page_of_short_strings_is_parsed_in_little_memory"),
    ("qemu-arm", "requests::a_page_of_short_strings_is_parsed_in_little_memory"),
    ("qemu-i386", "requests::a_page_of_short_strings_is_parsed_in_little_memory"),
    ("qemu-riscv64", "requests::a_page_of_short_strings_is_parsed_in_little_memory"),
];

/// Runs the emulator with a clock after 2038, when 32-bit times overflow. The tests depend on no other clock.
const LATER: &str = "/usr/bin/env DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 faketime -f +20y";

/// The tests that depend on the clock.
const DATED: &str = "tls::";

pub fn run(target: &Target, flavour: &Flavour, binary: &Path) -> Result {
    debian::need_for_tests()?;
    println!("{}", show::bold(format!("tests with {}", cargo::shown(binary))));
    if flavour.features == ["cli"] {
        drive(target, binary, "", &["--no-default-features", "--features=cli", "--test", "without", "--"])?;
    }
    drive(target, binary, "", &[ALL, &filters(flavour, |_| true)].concat())?;
    let dated = filters(flavour, |topic| topic == DATED);
    if target.emulation().is_none() || !dated.contains(&DATED) {
        return Ok(());
    }
    debian::need(&[("faketime", "faketime")])?;
    println!("{}", show::bold("the same twenty years later"));
    drive(target, binary, LATER, &[ALL, &dated].concat())
}

const ALL: &[&str] = &["--all-features", "--test", "it", "--"];

/// Runs native tests with the binary of the target. The emulator is run by the words in `wrapper`.
fn drive(target: &Target, binary: &Path, wrapper: &str, words: &[&str]) -> Result {
    let mut runner = wrapper.to_owned();
    if let Some(Emulation { program, cpu }) = target.emulation() {
        // The tests clear the environment with its PATH, so the program needs its full path.
        let program = shell::find(program).ok_or_else(|| format!("{program} is not installed"))?;
        runner += &format!(" {} -cpu {cpu}", program.display());
    }
    let mut command = cargo::command(&["test", "--quiet", "--package", "pullet"]);
    let emulator = target.emulation().map(|emulation| emulation.program);
    let broken = BROKEN.iter().filter(|(program, _)| emulator == Some(program));
    command.args(words).args(broken.flat_map(|(_, test)| ["--skip", test]));
    command.env("PULLET_BINARY", binary).env("PULLET_RUNNER", runner);
    command.env("PULLET_ARCHITECTURE", architecture(&target.triple)?);
    shell::watch(&mut command)
}

/// The arguments that select the tests of the wanted modules that work with this flavour.
fn filters(flavour: &Flavour, is_wanted: fn(&str) -> bool) -> Vec<&'static str> {
    let has = |feature: &str| flavour.has("default") || flavour.has(feature);
    let topics = TOPICS.iter().filter(|(topic, feature)| is_wanted(topic) && feature.is_none_or(has));
    let lacking = NEEDS.iter().filter(|(_, feature)| !has(feature));
    topics.map(|(topic, _)| *topic).chain(lacking.flat_map(|(test, _)| ["--skip", test])).collect()
}

/// The architecture and variant of a target, as images name them.
fn architecture(triple: &str) -> Result<&'static str> {
    Ok(match triple.split('-').next().unwrap_or_default() {
        "x86_64" => "amd64",
        "i686" => "386",
        "aarch64" => "arm64",
        "armv7" => "arm",
        "arm" => "arm/v6",
        "armv5te" => "arm/v5",
        "riscv64gc" => "riscv64",
        other => return Err(format!("{triple}: no image architecture is known for {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cross::targets, disk};

    #[test]
    fn selects_tests_by_the_features_of_the_flavour() {
        let list = targets::read().unwrap();
        let filters = |name| filters(list.flavour(name).unwrap(), |_| true);
        assert!(filters("full").contains(&"tls::") && !filters("full").contains(&"--skip"));
        assert!(filters("tiny").contains(&"tls::") && filters("tiny").contains(&"--skip"));
        assert!(!filters("tiny-notls").contains(&"tls::"));
    }

    #[test]
    fn names_tests_that_exist() {
        let path = |name: &str| cargo::root().join("tests/it").join(name);
        let module = |name: &str| {
            disk::read(&path(name).with_extension("rs")).or_else(|_| disk::read(&path(name).join("mod.rs")))
        };
        for (topic, _) in TOPICS {
            assert!(module(topic.trim_end_matches(':')).is_ok(), "{topic}");
        }
        for test in NEEDS.iter().map(|(test, _)| test).chain(BROKEN.iter().map(|(_, test)| test)) {
            let (topic, name) = test.split_once("::").unwrap();
            assert!(module(topic).unwrap().contains(&format!("fn {name}()")), "{test}");
        }
    }

    #[test]
    fn knows_the_architecture_of_every_target() {
        for target in targets::read().unwrap().targets {
            assert!(architecture(&target.triple).is_ok(), "{}", target.triple);
        }
        assert!(architecture("sparc64-unknown-linux-gnu").is_err());
    }
}
