//! pullet's own tasks, `cargo xtask COMMAND`: the dispatch only. Each command is a file or a folder of its own.

mod archive;
mod bench;
mod boot;
mod cargo;
mod crash;
mod cross;
mod debian;
mod demo;
mod disk;
mod filesystems;
mod fuzz;
mod image;
mod mem;
mod packages;
mod push;
mod registry;
mod shell;
mod show;
mod size;
mod test;
mod tidy;

use std::process::ExitCode;

/// What a task ends with: nothing, or the sentence that says why not.
type Result<T = ()> = std::result::Result<T, String>;

const HELP: &str = "\
cargo xtask COMMAND

  crash        kill pullet and break its disk at every system call that changes it, and run it again;
               --sample SEED[:COUNT], --call NAME, --jobs COUNT
  demo         pull, unpack, prove and run an image made of this machine's own files
  demo NAME    the same with a real image from a real registry
  test         format, clippy, tidy, every test, the manual, memory, size and crashes; what .ci/run calls
  cross [--flavour full|tiny|tiny-notls] [--way A|B|C] [--test] [TARGET…]
               static binaries for the targets of cross.toml, into target/dist; --way: the standard library from
               rustup (A), from rustup's source (B), from Debian's toolchain (C), else the first of them that is
               open; --test: and the core of the tests with each, under qemu-user
  tidy         the law of imports, one owner per dependency, 500 lines, ARCHITECTURE.md
  filesystems  the tests of stores and trees on ext4, tmpfs and overlayfs, as root and not, and without openat2
  fuzz [--seconds N] [TARGET|FILE…]
               the targets of fuzz/ for so many seconds each (60; 0: what is known already), or inputs
  boot [x86_64|aarch64] [CASE…]
               machines in QEMU whose initramfs pulls its root from a registry: as it should go, with the network cut,
               with the clock at 1970, with 64 MiB of memory, without a network
  bench        pullet and what else is here at the same work: CPU, memory, requests; -h tells its options
  mem          the peak memory of a pull and an unpack, with a small layer and with one of 1 GiB
  mem PROFILE  the same with another profile than release
  size         the bytes of the release binaries
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["crash", ref options @ ..] => crash::run(options),
        ["boot", ref words @ ..] => boot::run(words),
        ["bench", ..] => bench::run(&words[1..]),
        ["cross", ref words @ ..] => cross::run(words),
        ["demo"] => demo::of_this_machine(),
        ["demo", name] => demo::of(name),
        ["fuzz", ref words @ ..] => fuzz::run(words),
        ["filesystems"] => filesystems::run(),
        ["mem"] => mem::run("release"),
        ["mem", profile] => mem::run(profile),
        ["size"] => size::run(),
        ["test"] => test::run(),
        ["tidy"] => tidy::run(),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("xtask: no such command: {:?}\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
