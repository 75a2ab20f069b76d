//! Completion in bash, zsh and fish, with the files in share/ and real keys.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use kit::bench::Bench;
use kit::debian;
use kit::image::Image;
use kit::process::program;

/// What is typed behind `pullet`, and the words that the line then has.
const CASES: &[(&str, &[&str])] = &[
    ("pul", &["pull"]),
    ("image rem", &["image", "remove"]),
    ("help unp", &["help", "unpack"]),
    ("completion z", &["completion", "zsh"]),
    ("unpack --plat", &["unpack", "--platform"]),
    ("-q --st", &["-q", "--store"]),
    ("unpack --pull al", &["unpack", "--pull", "always"]),
    ("--progress=j", &["--progress=json"]),
    ("pull --ca-file ca.", &["pull", "--ca-file", "ca.pem"]),
    ("pull --ca-file=ca.", &["pull", "--ca-file=ca.pem"]),
    ("import root.t", &["import", "root.tar"]),
    ("inspect debi", &["inspect", "debian:trixie"]),
    ("inspect debian:tri", &["inspect", "debian:trixie"]),
    ("unpack registry.example:5000/a", &["unpack", "registry.example:5000/app:1"]),
    ("tags registry.example:5000/a", &["tags", "registry.example:5000/app"]),
    ("--store other inspect busy", &["--store", "other", "inspect", "busybox:latest"]),
    ("--store=other inspect busy", &["--store=other", "inspect", "busybox:latest"]),
    ("inspect busy", &["inspect", "busy"]),
    ("pull --retries ca.", &["pull", "--retries", "ca."]),
];

/// A home with images in two stores, and files to complete.
fn bench() -> Bench {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "1");
    for (store, copies) in [("store", &["debian:trixie", "registry.example:5000/app:1"][..]), ("other", &["busybox"])] {
        bench.home.run(&["--store", store, "pull", "-q", &name]).exits(0);
        for copy in copies {
            bench.home.run(&["--store", store, "tag", &name, copy]).exits(0);
        }
        bench.home.run(&["--store", store, "rmi", &name]).exits(0);
    }
    for file in ["ca.pem", "root.tar"] {
        bench.home.write(file, "");
    }
    fs::create_dir(bench.home.path("bin")).unwrap();
    fs::create_dir(bench.home.path("zsh")).unwrap();
    std::os::unix::fs::symlink(program(), bench.home.path("bin/pullet")).unwrap();
    bench
}

/// An interactive shell on a new terminal.
struct Shell {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
}

const PROMPT: &str = "READY> ";

impl Shell {
    fn start(bench: &Bench, words: &str, variables: &[(&str, &str)]) -> Shell {
        let mut script = debian::command("script");
        script.args(["-qec", words, "/dev/null"]).current_dir(bench.home.path("")).env_clear();
        script
            .env("PATH", format!("{}:/usr/bin:/bin", bench.home.arg("bin")))
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        script.env("HOME", bench.home.path("home")).env("PULLET_STORE", bench.home.path("store"));
        script.env("COLUMNS", "200").env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut shell = Shell { child, keys, screen };
        shell.read_to_prompt();
        shell
    }

    /// Types `pullet` and this, the key for completion, and then `show` in front of the line.
    fn complete(&mut self, typed: &str) -> Vec<String> {
        self.keys.write_all(format!("pullet {typed}\t\u{1}show \n").as_bytes()).unwrap();
        let screen = self.read_to_prompt();
        let (_, shown) = screen.split_once("\nBEGIN").unwrap_or_else(|| panic!("{typed}: {screen}"));
        let (words, _) = shown.split_once("END").unwrap_or_else(|| panic!("{typed}: {screen}"));
        words.split('|').skip(2).map(str::to_owned).collect()
    }

    fn read_to_prompt(&mut self) -> String {
        let mut screen = Vec::new();
        while !screen.ends_with(PROMPT.as_bytes()) {
            let mut byte = [0];
            let count = self.screen.read(&mut byte).unwrap();
            assert_eq!(count, 1, "the shell ended: {}", String::from_utf8_lossy(&screen));
            screen.push(byte[0]);
        }
        String::from_utf8_lossy(&screen).into_owned()
    }

    fn end(mut self) {
        self.keys.write_all(b"exit\n").unwrap();
        let mut rest = String::new();
        let _ = self.screen.read_to_string(&mut rest);
        self.child.wait().unwrap();
    }
}

fn check(shell: &mut Shell, cases: &[(&str, &[&str])]) {
    for (typed, expected) in cases {
        assert_eq!(shell.complete(typed), *expected, "{typed}");
    }
}

/// A folder of share/.
fn share(folder: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("share").join(folder).display().to_string()
}

/// Prints its arguments.
const SHOW: &str = "show() { printf BEGIN; printf '|%s' \"$@\"; printf 'END\\n'; }\n";

#[test]
fn completes_in_bash() {
    let bench = bench();
    // bash-completion finds the file by the name of the command.
    let rc = format!(
        "source /usr/share/bash-completion/bash_completion\n{SHOW}PS1='{PROMPT}'\nbind 'set enable-bracketed-paste off'\n"
    );
    let rc = bench.home.write("bashrc", rc);
    debian::program("dh_bash-completion");
    let share = share("");
    let mut shell = Shell::start(&bench, &format!("bash --noprofile --rcfile {rc} -i"), &[("XDG_DATA_DIRS", &share)]);
    check(&mut shell, CASES);
    shell.end();
}

#[test]
fn completes_in_bash_without_bash_completion() {
    let bench = bench();
    let rc = format!("source <(pullet completion bash)\n{SHOW}PS1='{PROMPT}'\nbind 'set enable-bracketed-paste off'\n");
    let rc = bench.home.write("bashrc", rc);
    let mut shell = Shell::start(&bench, &format!("bash --noprofile --rcfile {rc} -i"), &[]);
    check(&mut shell, CASES);
    shell.end();
}

#[test]
fn completes_in_zsh() {
    let bench = bench();
    debian::program("zsh");
    let functions = share("zsh/site-functions");
    let common =
        format!("{SHOW}PS1='{PROMPT}'\nbindkey -e\nunset zle_bracketed_paste\nsetopt no_prompt_sp no_prompt_cr\n");
    bench
        .home
        .write("zsh/.zshrc", format!("fpath=({functions} $fpath)\nautoload -U compinit && compinit -u -D\n{common}"));
    let folder = bench.home.arg("zsh");
    let mut shell = Shell::start(&bench, "zsh -d -i", &[("ZDOTDIR", &folder)]);
    check(&mut shell, CASES);
    shell.end();
    // The script can also be sourced.
    bench.home.write(
        "zsh/.zshrc",
        format!("autoload -U compinit && compinit -u -D\nsource <(pullet completion zsh)\n{common}"),
    );
    let mut shell = Shell::start(&bench, "zsh -d -i", &[("ZDOTDIR", &folder)]);
    check(&mut shell, &CASES[..3]);
    shell.end();
}

#[test]
fn completes_in_fish() {
    let bench = bench();
    let share = share("");
    for (typed, expected) in CASES {
        let mut fish = debian::command("fish");
        fish.args(["--no-config", "-c", "set -p fish_complete_path $argv[2]; complete -C $argv[1]"]);
        fish.arg(format!("pullet {typed}")).arg(format!("{share}/fish/vendor_completions.d"));
        fish.current_dir(bench.home.path("")).env_clear();
        fish.env("PATH", format!("{}:/usr/bin:/bin", bench.home.arg("bin"))).env("LC_ALL", "C.UTF-8");
        fish.env("HOME", bench.home.path("home")).env("PULLET_STORE", bench.home.path("store"));
        let outcome = debian::run(&mut fish).expect(0);
        let lines: Vec<&str> = outcome.stdout.lines().map(|line| line.split('\t').next().unwrap()).collect();
        let last = expected.last().unwrap();
        let is_completed = typed.rsplit(' ').next() != Some(last);
        assert_eq!(lines, if is_completed { vec![*last] } else { vec![] }, "{typed}\n{}", outcome.stderr);
    }
}

#[test]
fn prints_the_scripts_that_packages_install() {
    let bench = Bench::new();
    for (shell, file) in [
        ("bash", "bash-completion/completions/pullet"),
        ("zsh", "zsh/site-functions/_pullet"),
        ("fish", "fish/vendor_completions.d/pullet.fish"),
    ] {
        let expected = fs::read_to_string(share(file)).unwrap();
        bench.home.run(&["completion", shell]).exits(0).prints(&expected);
    }
    bench.home.run(&["completion", "tcsh"]).exits(2).fails_in_one_line().says("expected bash, zsh or fish");
    bench.home.run(&["completion"]).exits(2).fails_in_one_line();
}
