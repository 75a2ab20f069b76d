//! The core of the integration tests with a binary for another machine: the tests run here and drive it under qemu-user,
//! against registries that run here too.

use std::path::Path;

use super::targets::Target;
use crate::{Result, cargo, debian, shell, show};

/// Topics of tests/it. What looks at pullet from outside by strace, or has helpers of its own to run, is not among them:
/// under an emulator it would see the emulator.
const TOPICS: &[&str] = &[
    "dress::",
    "large::",
    "merge::",
    "patience::",
    "platform::",
    "redirect::",
    "requests::",
    "tls::",
    "unpack::",
    "verify::",
    "whiteout::",
];

pub fn run(target: &Target, binary: &Path) -> Result {
    debian::need(debian::FOR_TESTS)?;
    let runner = match &target.emulator {
        // The tests clear the environment, and with it the places where programs are looked for.
        Some([program, cpu]) => {
            let program = shell::find(program).ok_or_else(|| format!("{program} is not there"))?;
            format!("{} -cpu {cpu}", program.display())
        }
        None => String::new(),
    };
    println!("{}", show::bold(format!("tests with {}", cargo::shown(binary))));
    let mut command =
        cargo::command(&["test", "--quiet", "--package", "pullet", "--all-features", "--test", "it", "--"]);
    command.args(TOPICS).env("PULLET_BINARY", binary).env("PULLET_RUNNER", runner);
    command.env("PULLET_ARCHITECTURE", architecture(&target.triple)?);
    shell::watch(&mut command)
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
    fn every_target_has_its_architecture() {
        for target in targets::read().unwrap().targets {
            assert!(architecture(&target.triple).is_ok(), "{}", target.triple);
        }
        assert!(architecture("sparc64-unknown-linux-gnu").is_err());
    }
}
