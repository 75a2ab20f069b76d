//! pullet's own tasks, `cargo xtask COMMAND`. This file is the list of commands; each has a file or a folder.

mod archive;
mod bench;
mod boot;
mod cargo;
mod crash;
mod cross;
mod debian;
mod demo;
mod disk;
mod docs;
mod filesystems;
mod fuzz;
mod image;
mod mem;
mod msrv;
mod mutants;
mod package;
mod packages;
mod push;
mod registry;
mod shell;
mod show;
mod site;
mod size;
mod test;
mod tidy;

use std::process::ExitCode;

/// The outcome of a task. The error is a sentence for the terminal.
type Result<T = ()> = std::result::Result<T, String>;

struct Command {
    name: &'static str,
    /// Its arguments, as help shows them.
    arguments: &'static str,
    /// What it does, in lines that fit below its name.
    about: &'static [&'static str],
    run: Run,
}

enum Run {
    /// A command without arguments.
    Alone(fn() -> Result),
    /// A command that parses its arguments.
    With(fn(&[&str]) -> Result),
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        arguments: "",
        about: &["run everything that must pass before a commit; .ci/run calls it"],
        run: Run::Alone(test::run),
    },
    Command {
        name: "tidy",
        arguments: "",
        about: &["check the law of imports, the owners of dependencies, files and ARCHITECTURE.md"],
        run: Run::Alone(tidy::run),
    },
    Command {
        name: "docs",
        arguments: "[--check]",
        about: &[
            "make the man pages and the tables of options from the program's help;",
            "--check: fail if they differ from it",
        ],
        run: Run::With(docs::run),
    },
    Command {
        name: "size",
        arguments: "",
        about: &["show the size of the release binaries and check the budget"],
        run: Run::Alone(size::run),
    },
    Command {
        name: "mem",
        arguments: "[PROFILE]",
        about: &["measure the peak memory of pull and unpack, with a layer of 1 MiB and one of 1 GiB"],
        run: Run::With(mem::run),
    },
    Command {
        name: "demo",
        arguments: "[NAME]",
        about: &[
            "pull, unpack, verify and run an image made of this machine's files,",
            "or the image NAME from its registry",
        ],
        run: Run::With(demo::run),
    },
    Command {
        name: "bench",
        arguments: "[OPTION...]",
        about: &["compare pullet with the other tools on this machine: CPU, memory, requests; -h lists the options"],
        run: Run::With(bench::run),
    },
    Command {
        name: "crash",
        arguments: "[--sample SEED[:COUNT]] [--call NAME] [--scenario NAME] [--traces] [--jobs COUNT]",
        about: &[
            "kill pullet or fail its disk at every system call that changes the disk, then run it again",
            "--traces: only check the order of the calls and the modes of the files in runs without a fault",
        ],
        run: Run::With(crash::run),
    },
    Command {
        name: "mutants",
        arguments: "[--sample COUNT [--seed SEED]] [NAME...]",
        about: &["break the promises of SECURITY.md one by one in a copy of src; a test must notice each"],
        run: Run::With(mutants::run),
    },
    Command {
        name: "fuzz",
        arguments: "[--seconds N] [TARGET|FILE...]",
        about: &["fuzz each target for N seconds (default 60; 0 runs the known inputs only), or run one input"],
        run: Run::With(fuzz::run),
    },
    Command {
        name: "cross",
        arguments: "[--flavour full|tiny|tiny-notls] [--way A|B|C] [--test] [TARGET...]",
        about: &[
            "build static binaries for the targets of cross.toml into target/dist",
            "--way: take the standard library prebuilt from rustup (A), built from rustup's source (B) or with",
            "Debian's toolchain (C); default: the first that works",
            "--test: also run the core of the tests with each binary, under qemu-user",
        ],
        run: Run::With(cross::run),
    },
    Command {
        name: "package",
        arguments: "[--out FOLDER] [--test] [TARGET...]",
        about: &[
            "build the targets of cross.toml and make their packages in target/package",
            "--test: also make them again and compare, and install, use and remove them in clean roots",
        ],
        run: Run::With(package::run),
    },
    Command {
        name: "sign",
        arguments: "KEY [FOLDER]",
        about: &[
            "sign the checksums of the packages in FOLDER (default: target/package) with a secret key of minisign",
        ],
        run: Run::With(package::sign::run),
    },
    Command {
        name: "filesystems",
        arguments: "",
        about: &[
            "run the tests of stores and trees on ext4, tmpfs and overlayfs, as root and not, and without openat2",
        ],
        run: Run::Alone(filesystems::run),
    },
    Command {
        name: "boot",
        arguments: "[x86_64|aarch64] [CASE...]",
        about: &[
            "boot QEMU machines whose initramfs pulls the root from a registry: normally, with the network cut,",
            "with the clock at 1970, with 64 MiB of memory, without a network",
        ],
        run: Run::With(boot::run),
    },
    Command {
        name: "site",
        arguments: "",
        about: &["build the documentation as a web site into target/site"],
        run: Run::Alone(site::run),
    },
    Command { name: "help", arguments: "", about: &["show this text"], run: Run::Alone(help) },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, arguments) = match words[..] {
        [] | ["-h" | "--help", ..] => ("help", &[][..]),
        [name, ref arguments @ ..] => (name, arguments),
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: no command {name:?}\n\n{}", help_text());
        return ExitCode::from(2);
    };
    let outcome = match command.run {
        Run::Alone(run) if arguments.is_empty() => run(),
        Run::Alone(_) => Err(format!("{name} takes no arguments")),
        Run::With(run) => run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result {
    print!("{}", help_text());
    Ok(())
}

fn help_text() -> String {
    let mut text = "cargo xtask COMMAND\n".to_owned();
    for Command { name, arguments, about, .. } in COMMANDS {
        text += format!("\n  {name} {arguments}").trim_end();
        text += "\n";
        for line in *about {
            text += &format!("      {line}\n");
        }
    }
    text
}
