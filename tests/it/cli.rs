//! The command line: help, usage errors, output streams, and every form of progress.

use serde_json::Value;

use super::ignored::STORELESS;
use kit::archive::file;
use kit::bench::Bench;
use kit::digest::short;
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::Finished;
use kit::registry::Registry;

const COMMANDS: [&str; 14] = [
    "pull", "unpack", "images", "save", "load", "import", "verify", "login", "logout", "tags", "digest", "manifest",
    "artifact", "config",
];

fn image() -> Image {
    Image::new((0..3).map(|n| Layer::of(&[file(format!("f{n}"), format!("body {n}").repeat(100))])).collect())
}

/// The objects of `--progress json`, one per line.
#[track_caller]
fn objects(outcome: &Finished) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}\n{outcome}"));
    let objects: Vec<Value> = outcome.stderr.lines().map(parse).collect();
    assert!(objects.iter().all(Value::is_object), "{outcome}");
    objects
}

#[test]
fn help_goes_to_standard_output() {
    let home = Home::new();
    for flag in ["--help", "-h"] {
        let outcome = home.run(&[flag]).exits_in(flag, 0);
        assert_eq!(outcome.stderr, "", "{outcome}");
        COMMANDS.iter().for_each(|command| assert!(outcome.stdout.contains(command), "{command}\n{outcome}"));
        for command in COMMANDS {
            let outcome = home.run(&[command, flag]).exits_in(command, 0);
            assert_eq!(outcome.stderr, "", "{outcome}");
            for word in [command, "--progress", "--quiet", "--verbose"] {
                assert!(outcome.stdout.contains(word), "{command}: {word}\n{outcome}");
            }
            let has_store = !STORELESS.iter().any(|(storeless, _)| *storeless == command);
            assert_eq!(outcome.stdout.contains("--store DIR"), has_store, "{command}\n{outcome}");
        }
    }
    for (command, options) in [
        ("pull", &["--platform", "--creds", "--authfile", "--token-realm", "--ca-file", "--registry-mirror", "-a"][..]),
        (
            "unpack",
            &[
                "--platform",
                "--creds",
                "--authfile",
                "--ca-file",
                "--pull",
                "--no-devices",
                "--max-unpacked",
                "--max-entries",
            ],
        ),
        ("login", &["--username", "--password-stdin", "--authfile", "--token-realm", "--ca-file", "--client-cert"]),
        ("logout", &["--authfile"]),
        ("save", &["--output FILE", "--format docker-archive|oci-archive"]),
        ("load", &["--input FILE", "--platform", "--max-unpacked", "--max-zstd-window"]),
        ("import", &["--change INSTRUCTION", "--message TEXT", "--platform", "--max-entries"]),
        ("verify", &["--remove-corrupt", "--verify-key"]),
        ("tags", &["--creds", "--creds-file", "--ca-file"]),
        ("digest", &["--platform", "--creds", "--ca-file"]),
        ("manifest", &["--platform", "--creds", "--ca-file", "--raw"]),
        ("artifact", &["--platform", "--creds", "--ca-file"]),
        ("config", &["--platform", "--creds", "--ca-file", "--registry-mirror"]),
    ] {
        let outcome = home.run(&[command, "--help"]).exits(0);
        options.iter().for_each(|option| assert!(outcome.stdout.contains(option), "{command}: {option}\n{outcome}"));
    }
    for command in COMMANDS {
        let outcome = home.run(&[command, "--help"]);
        let is_flush = outcome.stdout.lines().any(|line| line.starts_with('-'));
        assert!(!is_flush, "{command}: an option is not in its column\n{outcome}");
    }
    // Help is printed even if the arguments are wrong, and touches nothing.
    home.run(&["pull", "NAME WITH BLANKS", "--help"]).exits(0);
    assert!(!home.store().exists());
}

#[test]
fn help_fits_into_80_columns() {
    let home = Home::new();
    let all = COMMANDS.iter().map(|command| vec![*command, "--help"]).chain([vec!["--help"]]);
    for args in all {
        let outcome = home.run(&args);
        let longest = outcome.stdout.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!((20..=80).contains(&longest), "{args:?}: {longest} columns\n{outcome}");
    }
}

#[test]
fn version_goes_to_standard_output() {
    let home = Home::new();
    for flag in ["--version", "-V"] {
        let expected = format!("pullet {}\n", env!("CARGO_PKG_VERSION"));
        home.run(&[flag]).exits(0).prints(&expected);
    }
}

#[test]
fn usage_errors_exit_with_two() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    let cases: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["--frobnicate"],
        &["pull"],
        &["pull", "--frobnicate", &name],
        &["pull", "-Z", &name],
        &["pull", "--platform"],
        &["pull", &name, "--platform"],
        &["pull", "--no-devices", &name],
        &["pull", "--quiet=yes", &name],
        &["pull", "--progress", "loud", &name],
        &["pull", "--progress=", &name],
        &["unpack"],
        &["unpack", &name],
        &["unpack", &name, "a", "b"],
        &["unpack", "--pull", "perhaps", &name, "a"],
        &["unpack", "-a", &name, "a"],
        &["images", "--platform", "linux/amd64"],
        &["images", "--frobnicate"],
        &["verify", "--frobnicate"],
        &["verify", "--authfile", "x"],
        &["pull", "-u", "x", &name],
        &["login", "a", "b"],
        &["login", "--password-stdin"],
        &["login", "registry"],
        &["login", "--creds", "a:b"],
        &["logout", "a.io", "b.io"],
        &["logout", "a.io/ns"],
        &["logout", "-u", "x"],
        &["verify", "Bad"],
        &["pull", "--ca-file", "/nonexistent.pem", "--store"],
    ];
    for args in cases {
        bench.home.run(args).exits_in(&format!("{args:?}"), 2).fails_in_one_line().prints("");
    }
    assert_eq!(bench.registry.connections(), 0);
    for (typed, meant) in [("--platfrom", "--platform"), ("--progres", "--progress"), ("--verbos", "--verbose")] {
        let outcome = bench.home.run(&["pull", typed, "x", &name]).exits_in(typed, 2);
        outcome.says(typed).says("hint: ").says(if meant.is_empty() { "--help" } else { "--" });
    }
    assert!(!bench.home.store().exists(), "a usage error touched the store");
}

#[test]
fn accepts_options_anywhere_and_in_both_forms() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    let full = format!("{name}\n");
    for args in [
        &["pull", "-q", &name][..],
        &["pull", &name, "-q"],
        &["pull", &name, "--quiet"],
        &["pull", "--quiet", "--", &name],
        &["pull", "--progress=none", "-q", &name],
        &["pull", "--progress", "none", "--quiet", &name],
        &["-q", "pull", &name],
    ] {
        // Options before the command may be rejected, but if they are accepted, they mean the same.
        let outcome = bench.home.run(args);
        if args[0] == "-q" && outcome.code == 2 {
            continue;
        }
        outcome.exits_in(&format!("{args:?}"), 0).prints(&full);
    }
}

#[test]
fn plain_progress_has_dockers_lines() {
    let bench = Bench::new();
    let image = image();
    bench.pull(&Image::new(image.layers[..1].to_vec())).exits(0);
    let name = image.push(&bench.registry, "app", "2");
    let outcome = bench.home.run(&["pull", "--progress", "plain", &name]).exits(0);
    let outcome = outcome.says("2: Pulling from app\n");
    let has_line =
        |layer: &Layer, text: &str| outcome.stderr.contains(&format!("{}: {text}\n", short(&layer.digest())));
    assert!(has_line(&image.layers[0], "Already exists"), "{outcome}");
    for layer in &image.layers[1..] {
        assert!(has_line(layer, "Pulling fs layer") && has_line(layer, "Pull complete"), "{outcome}");
    }
    assert!(!outcome.stderr.contains('\u{1b}') && !outcome.stderr.contains('\r'), "{outcome}");
    assert!(!outcome.stdout.contains("Pulling"), "{outcome}");
    // Standard output does not depend on how progress is shown.
    for mode in ["auto", "tty", "plain", "json", "none"] {
        let bench = Bench::new();
        let name = image.push(&bench.registry, "app", "latest");
        let status = format!("Digest: {}\nStatus: Downloaded newer image for {name}\n{name}\n", image.digest());
        bench.home.run(&["pull", "--progress", mode, &name]).exits_in(mode, 0).prints(&status);
    }
    // `auto` is `plain` if standard error is not a terminal.
    let auto = Bench::new();
    let name = image.push(&auto.registry, "app", "latest");
    auto.home.run(&["pull", &name]).exits(0).says("latest: Pulling from app\n").hides("\u{1b}");
}

#[test]
fn quiet_commands_report_errors_only() {
    for options in [&["--progress", "none"][..], &["-q"], &["--progress", "none", "-q"]] {
        let bench = Bench::new();
        let name = image().push(&bench.registry, "app", "latest");
        let outcome = bench.home.run(&[&["pull"], options, &[&name]].concat()).exits(0);
        assert_eq!(outcome.stderr, "", "{options:?}\n{outcome}");
        let quiet = outcome.stdout == format!("{name}\n");
        assert_eq!(quiet, options.contains(&"-q"), "{options:?}\n{outcome}");
        // Errors are reported all the same.
        bench.home.run(&[&["pull"], options, &[&bench.registry.name("missing")]].concat()).exits(3).fails_in_one_line();
    }
}

#[test]
fn json_progress_ends_with_the_exit_code() {
    let bench = Bench::new();
    let name = image().push(&bench.registry, "app", "latest");
    let outcome = bench.home.run(&["pull", "--progress", "json", &name]).exits(0);
    let all = objects(&outcome);
    assert!(all.len() > 3, "{outcome}");
    let end = all.last().unwrap();
    assert_eq!(
        (&end["event"], &end["code"], &end["word"], &end["retry"]),
        (&"end".into(), &0.into(), &"ok".into(), &false.into())
    );
    assert!(all.iter().all(|object| object["event"].is_string()), "{outcome}");
    assert_eq!(all.iter().filter(|object| object["event"] == "end").count(), 1);
    assert!(outcome.stdout.ends_with(&format!("{name}\n")), "standard output depends on --progress: {outcome}");
}

#[test]
fn json_progress_has_a_word_for_every_kind_of_failure() {
    type Setup = fn(&Bench);
    let cases: [(i32, &str, bool, Setup); 7] = [
        (3, "not-found", false, |b| b.registry.fault(on("/manifests/").status(404).body("{}"))),
        (4, "denied", false, |b| b.registry.fault(on("/manifests/").status(403).body("{}"))),
        (5, "network", true, |b| b.registry.fault(on("/manifests/").status(503).body("{}"))),
        (6, "rate-limited", true, |b| {
            b.registry.fault(on("/manifests/").status(429).header("Retry-After", "0").body("{}"))
        }),
        (8, "mismatch", false, |b| b.registry.fault(on("/blobs/").flip(1))),
        (10, "unsupported", false, |b| {
            b.registry
                .fault(on("/manifests/").without("Content-Type").header("Content-Type", "application/vnd.example+json"))
        }),
        (11, "unsafe", false, |b| b.registry.fault(on("/manifests/").body("{"))),
    ];
    for (code, word, retry, setup) in cases {
        let bench = Bench::new();
        let name = image().push(&bench.registry, "app", "latest");
        setup(&bench);
        let outcome = bench.home.run(&["pull", "--progress", "json", &name]).exits_in(word, code);
        let all = objects(&outcome);
        let end = all.last().unwrap();
        assert_eq!(
            (&end["event"], &end["code"], &end["word"], &end["retry"]),
            (&"end".into(), &code.into(), &word.into(), &retry.into()),
            "{outcome}"
        );
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
    let Bench { registry, home } = Bench::new();
    let name = image().push(&registry, "app", "latest");
    home.write("file", "");
    for (args, code, word) in [
        (&["pull", "--progress", "json", "--store", "file/x", &name][..], 9, "disk"),
        (&["unpack", "--progress", "json", "--pull", "never", "localhost:1/app", "x"], 3, "not-found"),
        (&["pull", "--progress", "json", "localhost:1/app"], 5, "network"),
        (&["pull", "--progress", "json", "Bad"], 2, "usage"),
    ] {
        let outcome = home.run(args).exits_in(word, code);
        let end = objects(&outcome).pop().unwrap();
        assert_eq!((&end["code"], &end["word"]), (&code.into(), &word.into()), "{outcome}");
    }
}

#[test]
fn json_progress_reports_usage_errors() {
    let (bench, other) = (Bench::new(), Registry::plain());
    let names =
        [Image::small("x").push(&bench.registry, "app", "latest"), Image::small("x").push(&other, "app", "latest")];
    let cases: &[&[&str]] = &[
        &["pull"],
        &["pull", "--frobnicate", &names[0]],
        &["pull", "-Z", &names[0]],
        &["pull", "--quiet=yes", &names[0]],
        &["pull", "--platform", "a/b/c/d", &names[0]],
        &["pull", "--creds", "a:b", &names[0], &names[1]],
        &["pull", "-a", &names[0]],
        &["pull", "Bad"],
        &["unpack", &names[0]],
        &["unpack", &names[0], "a", "b"],
        &["unpack", "--pull", "perhaps", &names[0], "a"],
        &["images", "--frobnicate"],
        &["verify", "Bad"],
        &["frobnicate"],
        &["--frobnicate"],
        &[],
    ];
    for args in cases {
        for option in [&["--progress", "json"][..], &["--progress=json"]] {
            for args in [[option, args].concat(), [args, option].concat()] {
                let outcome = bench.home.run(&args).exits_in(&format!("{args:?}"), 2).prints("");
                let all = objects(&outcome);
                assert_eq!(all.len(), 2, "{outcome}");
                assert_eq!(all[0]["event"], "start", "{outcome}");
                assert_eq!(
                    (&all[1]["event"], &all[1]["code"], &all[1]["word"], &all[1]["retry"]),
                    (&"end".into(), &2.into(), &"usage".into(), &false.into()),
                    "{outcome}"
                );
            }
        }
    }
    assert_eq!((bench.registry.connections(), other.connections()), (0, 0));
}

#[test]
fn verbose_shows_the_requests() {
    let bench = Bench::new();
    let image = image();
    let name = image.push(&bench.registry, "app", "latest");
    let outcome = bench.home.run(&["pull", "-v", &name]).exits(0);
    for path in ["/v2/app/manifests/latest".to_string(), format!("/v2/app/blobs/{}", image.config_digest())] {
        assert!(outcome.stderr.contains(&path), "{path}\n{outcome}");
    }
    assert_eq!(outcome.stdout.lines().count(), 3, "{outcome}");
}

#[test]
fn escapes_untrusted_text() {
    let evil = "\u{1b}[31mred\u{7}\u{9b}31m\u{202e}rtl\r\nfake: line";
    let json = serde_json::json!({ "errors": [{ "code": evil, "message": evil, "detail": evil }] }).to_string();
    let controls = |text: &str| {
        text.chars()
            .any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    let faults = [
        on("/manifests/").status(500).body(json.clone()),
        on("/manifests/").status(404).body(json.clone()),
        on("/manifests/").status(403).body(evil),
        on("/manifests/").without("Content-Type").header("Content-Type", "text/\u{1b}[31m"),
        on("/manifests/").body(r#"{"schemaVersion":2,"mediaType":"a\u001b[31mb","config":{},"layers":[]}"#),
        on("/blobs/").redirect(307, "http://\u{1b}[31m/"),
        on("/manifests/").challenge(&["Bearer realm=\"http://localhost:1/\u{1b}[31m\""]),
    ];
    for fault in faults {
        let bench = Bench::new();
        let name = image().push(&bench.registry, "app", "latest");
        bench.registry.fault(fault.clone());
        for options in [&["-v"][..], &["--progress", "json"]] {
            let outcome = bench.home.run(&[&["pull"], options, &[&name]].concat());
            assert_ne!(outcome.code, 0, "{outcome}");
            assert!(!controls(&outcome.stderr) && !controls(&outcome.stdout), "{fault:?}\n{:?}", outcome.stderr);
            assert!(!outcome.stderr.lines().any(|line| line.starts_with("fake: ")), "{outcome}");
        }
    }
    let home = Home::new();
    let outcome = home.run(&["pull", "a\u{1b}[31m\u{202e}b"]).exits(2).fails_in_one_line();
    assert!(!controls(&outcome.stderr), "{:?}", outcome.stderr);
    let outcome = home.run(&["\u{1b}[31m"]).exits(2).fails_in_one_line();
    assert!(!controls(&outcome.stderr), "{:?}", outcome.stderr);
}

#[test]
fn errors_name_their_subject_once() {
    let bench = Bench::new();
    let name = bench.registry.name("missing:1");
    let outcome = bench.home.run(&["pull", &name]).exits(3).fails_in_one_line();
    assert_eq!(
        outcome.stderr.lines().filter(|line| line.contains("missing")).count(),
        1 + usize::from(outcome.stderr.contains("Pulling from"))
    );
    bench.home.run(&["pull", "localhost:1/app"]).exits(5).fails_in_one_line().says("localhost:1");
    let secure = Registry::tls(&kit::authority::Authority::new());
    let name = Image::small("x").push(&secure, "app", "latest");
    bench.home.run(&["pull", &name]).exits_in("an unknown authority", 7).fails_in_one_line();
    let ca = bench.home.write("other.pem", kit::authority::Authority::new().pem());
    bench.home.run(&["pull", "--ca-file", &ca, &name]).exits_in("another authority", 7).fails_in_one_line();
}

#[test]
fn rejects_a_ca_file_without_certificates() {
    let authority = kit::authority::Authority::new();
    let (ours, wrong_name) = (Registry::tls(&authority), Registry::tls_for(&authority, &["registry.example"]));
    let home = Home::new();
    let name = Image::small("x").push(&ours, "app", "latest");
    let ca = home.write("ca.pem", authority.pem());
    home.run(&["pull", "--ca-file", &ca, &name]).exits(0);
    let bundle = home
        .write("bundle.pem", format!("# a comment\n{}\n{}", kit::authority::Authority::new().pem(), authority.pem()));
    home.run(&["pull", "--ca-file", &bundle, &name]).exits_in("a bundle", 0);
    home.run(&["pull", "--ca-file", &home.arg("missing.pem"), &name])
        .exits_among("a missing file", &[2, 7, 9])
        .fails_in_one_line();
    for (case, text) in [
        ("an empty file", ""),
        ("no certificate", "hello"),
        ("broken base64", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
    ] {
        let file = home.write("bad.pem", text);
        home.run(&["pull", "--ca-file", &file, &name]).exits_among(case, &[2, 7, 9]).fails_in_one_line();
    }
    let name = Image::small("x").push(&wrong_name, "app", "latest");
    home.run(&["pull", "--ca-file", &ca, &name]).exits_in("a certificate for another name", 7).fails_in_one_line();
    assert!(wrong_name.log().is_empty(), "a request was sent");
}

#[test]
fn rejects_options_of_other_commands() {
    let home = Home::new();
    for args in [
        &["logout", "--timeout", "5", "r.io"][..],
        &["logout", "--ca-file", "nowhere", "r.io"],
        &["login", "--creds", "a:b", "r.io"],
        &["login", "--platform", "linux/amd64", "r.io"],
        &["images", "--creds", "a:b"],
        &["verify", "--retries", "1"],
        &["pull", "--no-devices", "r.io/a"],
        &["unpack", "-a", "r.io/a", "d"],
    ] {
        home.run(args).exits_in(&args.join(" "), 2).says("unknown option");
    }
}

#[test]
fn times_have_units() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    for option in ["--timeout", "--stall-timeout"] {
        for time in ["30", "30s", "5m", "1h"] {
            bench.home.run(&["pull", option, time, &name]).exits_in(time, 0);
        }
        for time in ["0", "0m", "5x", "1.5h", "-1s", "m", "1193047h", "5 m"] {
            let outcome = bench.home.run(&["pull", &format!("{option}={time}"), &name]).exits_in(time, 2);
            outcome.fails_in_one_line().says(option).says("5m");
        }
    }
}

#[test]
fn options_that_a_command_would_ignore_are_refused() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    let repository = bench.registry.name("app");
    for args in [
        &["tags", "--platform", "linux/arm64", &repository][..],
        &["tags", "-j", "2", &repository],
        &["digest", "-j", "2", &name],
        &["manifest", "-j", "2", &name],
        &["artifact", "-j", "2", &name, "dir"],
        &["config", "-j", "2", &name],
        &["config", "--timeout", "5", &name],
        &["login", "--platform", "linux/arm64"],
        &["logout", "--ca-file", "x"],
        &["pull", "--max-entries", "5", &name],
    ] {
        let outcome = bench.home.run(args).exits_in(&format!("{args:?}"), 2).fails_in_one_line();
        outcome.says(&format!("unknown option {}", args[1]));
    }
    assert_eq!(bench.registry.connections(), 0);
}
