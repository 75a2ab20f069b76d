//! Options that a command would ignore are refused by it.

use kit::home::Home;

/// The commands that use no store, each with arguments.
pub(crate) const STORELESS: [(&str, &[&str]); 10] = [
    ("artifact", &["r.example/a", "dir"]),
    ("boot", &[]),
    ("completion", &["bash"]),
    ("digest", &["r.example/a"]),
    ("help", &[]),
    ("login", &["r.example"]),
    ("logout", &["r.example"]),
    ("manifest", &["r.example/a"]),
    ("tags", &["r.example/a"]),
    ("version", &[]),
];

#[test]
fn refuses_options_that_have_no_effect() {
    let home = Home::new();
    let refused = |args: &[&str], option: &str, reason: &str| {
        let outcome = home.run(args).exits_in(&format!("{args:?}"), 2).fails_in_one_line();
        outcome.says(&format!("pullet: {option} has no effect: {reason}")).says("hint: see pullet ");
    };
    for (command, arguments) in STORELESS {
        let reason = format!("{command} uses no store");
        refused(&[&[command, "--store", "x"], arguments].concat(), "--store", &reason);
        refused(&[&["--store=x", command], arguments].concat(), "--store", &reason);
    }
    let streamed = ["unpack", "--stream", "--pull", "always", "--store", "x", "r.example/a", "root"];
    refused(&streamed, "--store", "--stream with --pull always uses no store");
    for (option, value) in [
        ("--creds", "a:b"),
        ("--creds-file", "file"),
        ("--authfile", "file"),
        ("--registry-mirror", "https://m.example"),
        ("--mirrors-only", ""),
        ("--token-realm", "t.example"),
        ("--ca-file", "file"),
        ("--client-cert", "file"),
        ("--insecure-registry", "r.example"),
        ("--allow-foreign-layers", ""),
        ("--clock", "floor"),
        ("--retries", "1"),
        ("--stall-timeout", "1s"),
        ("--limit-rate", "1m"),
    ] {
        let given = if value.is_empty() { option.to_owned() } else { format!("{option}={value}") };
        let args = ["unpack", "--pull", "never", &given, "r.example/a", "root"];
        refused(&args, option, "--pull never sends no request");
    }
    // These have an effect on what is in the store.
    let used = ["--timeout=1m", "--platform=linux/arm64", "-j2", "--max-entries=5", "--max-zstd-window=16m"];
    home.run(&[&["unpack", "--pull=never", "r.example/a", "root"], &used[..]].concat()).exits(3);
}
