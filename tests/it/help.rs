//! `help` and `version`, and what is answered to words that do not exist here.

use serde_json::Value;

use kit::home::Home;

#[test]
fn help_prints_what_the_option_prints() {
    let home = Home::new();
    for (words, same) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "pull"], &["pull", "--help"]),
        (&["help", "image"], &["image", "--help"]),
        (&["help", "image", "rm"], &["rmi", "--help"]),
        (&["help", "help"], &["help", "--help"]),
    ] {
        let expected = home.run(same).exits(0).stdout;
        home.run(words).exits_in(&format!("{words:?}"), 0).prints(&expected);
    }
    home.run(&["help", "pul"]).exits(2).fails_in_one_line().says("hint: did you mean pull?");
    home.run(&["help", "pull", "app"]).exits(2).fails_in_one_line().says("unexpected argument \"app\"");
    home.run(&["help", "build"]).exits(2).fails_in_one_line().says("buildah");
}

#[test]
fn version_says_what_the_program_is_made_of() {
    let home = Home::new();
    let text = home.run(&["version"]).exits(0).stdout;
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["Version", "Date", "Target", "Build", "Features", "Crypto", "Platform", "Roots"]);
    let outcome = home.run(&["version", "--format", "json"]).exits(0);
    let object: Value = serde_json::from_str(&outcome.stdout).unwrap();
    for (name, value) in lines {
        assert_eq!(object[name], value.trim(), "{outcome}");
    }
    assert_eq!(object["Version"], env!("CARGO_PKG_VERSION"));
    let target = object["Target"].as_str().unwrap();
    assert!(target.starts_with(std::env::consts::ARCH) && target.contains("linux"), "{outcome}");
    let roots = object["Roots"].as_str().unwrap();
    assert!(roots.contains("certificates, webpki-roots ") && roots.contains(" of 20"), "{outcome}");
    for feature in ["manage", "tls", "webpki-roots", "zstd"] {
        assert!(object["Features"].as_str().unwrap().split(' ').any(|name| name == feature), "{outcome}");
    }
}

#[test]
fn version_names_the_platform_that_would_be_chosen() {
    let home = Home::new();
    let args = ["version", "-f", "{{.Platform}}"];
    home.run(&[&args[..], &["--platform", "linux/aarch64"]].concat()).exits(0).prints("linux/arm64\n");
    home.pullet(&args).env("DOCKER_DEFAULT_PLATFORM", "linux/s390x").run().exits(0).prints("linux/s390x\n");
    home.run(&["version", "-f", "{{.Nope}}"]).exits(2).fails_in_one_line();
    home.run(&["version", "app"]).exits(2).fails_in_one_line();
}

#[test]
fn names_what_was_probably_meant() {
    let home = Home::new();
    for (words, hint) in [
        ("pul app", "did you mean pull?"),
        ("unpakc app dir", "did you mean unpack?"),
        ("imgaes", "did you mean images?"),
        ("insp app", "did you mean inspect?"),
        ("image rmm app", "did you mean rm?"),
        ("pull --platfrom x app", "did you mean --platform?"),
        ("pull --plat x app", "did you mean --platform?"),
        ("--sotre x pull app", "did you mean --store?"),
        ("pull --stream app", "pullet unpack has this option"),
        ("images --all-tags", "pullet pull has this option"),
        ("--platform linux/arm64 pull app", "write the option behind the command: pullet pull --platform"),
        ("frobnicate", "see pullet --help"),
        ("pull --frobnicate app", "see pullet pull --help"),
        ("pull -Z app", "see pullet pull --help"),
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let outcome = home.run(&args).exits_in(words, 2).fails_in_one_line().prints("");
        assert!(outcome.stderr.ends_with(&format!("\nhint: {hint}\n")), "{outcome}");
    }
}

#[test]
fn answers_options_of_other_tools_with_the_option_here() {
    let home = Home::new();
    for (words, option) in [
        ("pull --tls-verify=false app", "--insecure-registry HOST[:PORT]"),
        ("pull --tls-verify false app", "--insecure-registry HOST[:PORT]"),
        ("pull --src-tls-verify=false app", "--insecure-registry HOST[:PORT]"),
        ("tags --insecure app", "--insecure-registry HOST[:PORT]"),
        ("login --tls-verify=false r.example", "--insecure-registry HOST[:PORT]"),
        ("pull --cert-dir certs app", "--ca-file"),
        ("pull --src-creds a:b app", "--creds-file"),
        ("pull --username a --password b app", "pullet login"),
        ("digest --src-authfile file app", "--authfile"),
        ("pull --arch arm64 app", "--platform OS/ARCH[/VARIANT]"),
        ("pull --override-os linux app", "--platform OS/ARCH[/VARIANT]"),
        ("pull --all app", "--platform OS/ARCH"),
        ("rmi --all", "pullet prune -a"),
        ("pull --signature-policy file app", "--policy FILE"),
        ("pull --retry-times 3 app", "--retries N"),
        ("pull --dest-tls-verify=false app", "pullet save"),
        ("pull --dest-creds a:b app", "skopeo copy"),
        ("--root dir images", "--store DIR"),
        ("images --root dir", "--store DIR"),
        ("--debug pull app", "use -v"),
        ("pull --log-level=debug app", "use -v"),
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let outcome = home.run(&args).exits_in(words, 2).fails_in_one_line().prints("");
        let hint = outcome.stderr.lines().nth(1).unwrap_or_default();
        assert!(hint.starts_with("hint: ") && hint.contains(option), "{outcome}");
    }
    // A command gets no advice to use an option that it does not have.
    home.run(&["images", "--tls-verify=false"]).exits(2).fails_in_one_line().says("hint: see pullet images --help");
}

#[test]
fn refuses_a_password_on_the_command_line() {
    let home = Home::new();
    for words in [
        &["-p", "hunter2-s3cret"][..],
        &["-phunter2-s3cret"],
        &["--password", "hunter2-s3cret"],
        &["--password=hunter2-s3cret"],
    ] {
        let outcome =
            home.run(&[&["login", "-u", "robot"], words, &["r.example"]].concat()).exits(2).fails_in_one_line();
        outcome
            .hides("s3cret")
            .says("visible to every user of this machine")
            .says("hint: pullet login -u USER --password-stdin HOST");
    }
}

#[test]
fn accepts_options_of_the_program_before_and_after_the_command() {
    let home = Home::new();
    let expected = home.run(&["images", "--store", "other", "-q"]).exits(0).stdout;
    for args in [
        &["--store", "other", "-q", "images"][..],
        &["--store=other", "images", "-q"],
        &["-q", "image", "--store=other", "ls"],
    ] {
        home.run(args).exits_in(&format!("{args:?}"), 0).prints(&expected);
    }
    let outcome = home.run(&["--store", "other", "inspect", "app"]).exits(3);
    assert_eq!(outcome.stderr, home.run(&["inspect", "--store", "other", "app"]).exits(3).stderr);
}
