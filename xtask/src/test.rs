//! `cargo xtask test`: runs all checks that a commit must pass, and stops at the first failure.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{
    Result, cargo, crash, cross, debian, disk, docs, fuzz, mem, msrv, mutants, package, shell, show, size, tidy,
};

struct Step {
    name: &'static str,
    run: fn() -> Result,
}

const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "clippy", run: clippy },
    Step { name: "tidy", run: tidy::run },
    Step { name: "scripts", run: scripts },
    Step { name: "docs", run: docs::check },
    Step { name: "mem", run: memory },
    Step { name: "size", run: size::run },
    Step { name: "msrv", run: msrv::check },
    Step { name: "manual", run: manual },
    Step { name: "crash", run: crash::sample },
    Step { name: "mutants", run: mutants::sample },
    Step { name: "cross", run: cross::first_tier },
    Step { name: "package", run: package::sample },
    Step { name: "tests", run: tests },
];

pub fn run() -> Result {
    debian::need_for_tests()?;
    let start = Instant::now();
    for (index, step) in STEPS.iter().enumerate() {
        println!("{}", show::bold(format!("[{}/{}] {}", index + 1, STEPS.len(), step.name)));
        (step.run)().map_err(|reason| format!("{} failed: {reason}", step.name))?;
    }
    println!("{}", show::bold(format!("all {} steps passed in {}", STEPS.len(), show::seconds(start.elapsed()))));
    Ok(())
}

fn format() -> Result {
    shell::watch(&mut cargo::command(&["fmt", "--all", "--check"]))?;
    shell::watch(&mut cargo::command(&["fmt", "--check", "--manifest-path", fuzz::MANIFEST]))
}

/// Runs clippy with all features and with none, because code for some features only is dead code without them.
fn clippy() -> Result {
    for features in [&["--all-features"][..], &["--no-default-features"], &["--no-default-features", "--features=cli"]]
    {
        let words =
            [&["clippy", "--quiet", "--workspace", "--all-targets"], features, &["--", "-D", "warnings"]].concat();
        shell::watch(&mut cargo::command(&words))?;
    }
    shell::watch(&mut fuzz::lint()?)
}

/// Runs shellcheck on the scripts of examples and of the packages.
fn scripts() -> Result {
    let mut shellcheck = shell::program("shellcheck");
    for folder in ["initramfs", "agent"] {
        add_scripts(&cargo::root().join("examples").join(folder), &mut shellcheck)?;
    }
    shellcheck.arg(cargo::root().join("packaging/deb/postinst"));
    shell::watch(&mut shellcheck)
}

fn add_scripts(folder: &Path, shellcheck: &mut Command) -> Result {
    for path in disk::list(folder)? {
        if path.is_dir() {
            add_scripts(&path, shellcheck)?;
        } else if path.extension().is_none_or(|extension| extension != "md" && extension != "rs") {
            shellcheck.arg(path);
        }
    }
    Ok(())
}

fn memory() -> Result {
    mem::run(&[])
}

/// Builds the documentation. A broken link is an error.
fn manual() -> Result {
    let mut doc: Command = cargo::command(&["doc", "--quiet", "--no-deps", "--all-features"]);
    shell::watch(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs unit, integration and doc tests. This is the last step, so that the test counts are the last lines.
fn tests() -> Result {
    // Some tests run the release binary.
    cargo::build("release")?;
    shell::watch(&mut cargo::command(&[
        "test",
        "--quiet",
        "--no-default-features",
        "--features=cli",
        "--test",
        "without",
    ]))?;
    shell::watch(&mut cargo::command(&["test", "--workspace", "--all-features"]))
}
