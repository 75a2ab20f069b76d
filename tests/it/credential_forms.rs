//! Forms of credentials that other tools accept: wrapped base64, keys and members in several spellings, a file with
//! `USER:PASSWORD`, and credential helpers that print more.

use kit::bench::Bench;
use kit::digest::base64;
use kit::image::Image;

use crate::credentials::{PASSWORD, bench_for, helper, helper_output, hides, write};

#[test]
fn ignores_what_a_helper_prints_after_its_json() {
    for after in ["echo 'warning: a new version is available'", "echo '{\"Username\":\"other\"}'", "printf '\\n\\n'"] {
        let (bench, name) = bench_for("robot");
        let path = helper(&bench.home, "chatty", &format!("{}; {after}", helper_output("robot", PASSWORD)));
        write(&bench.home, "home/.docker/config.json", r#"{"credsStore":"chatty"}"#);
        let outcome = bench.home.pullet(&["pull", &name]).env("PATH", &path).run().exits_in(after, 0);
        hides(outcome).hides("left out");
    }
}

#[test]
fn accepts_auth_that_base64_has_wrapped() {
    // `base64` of coreutils and BusyBox breaks lines after 76 columns.
    let long = "p".repeat(100);
    let encoded = base64(format!("robot:{long}").as_bytes());
    let bench = Bench::new();
    bench.registry.require(&format!("Basic {encoded}"), &[r#"Basic realm="registry""#]);
    let name = Image::small("wrapped").push(&bench.registry, "app", "latest");
    for line_break in ["\\n", "\\r\\n"] {
        let wrapped = format!("{}{line_break}{}{line_break}", &encoded[..76], &encoded[76..]);
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{wrapped}"}}}}}}"#, bench.registry.host());
        let file = bench.home.write("auth.json", &text);
        bench.home.run(&["pull", "--authfile", &file, &name]).exits_in(&text, 0);
    }
}

#[test]
fn matches_keys_with_a_slash_and_members_in_any_case() {
    let (bench, name) = bench_for("robot");
    let host = bench.registry.host();
    let auth = base64(format!("robot:{PASSWORD}").as_bytes());
    for text in [
        format!(r#"{{"auths":{{"{host}/":{{"auth":"{auth}"}}}}}}"#),
        format!(r#"{{"Auths":{{"{host}":{{"Auth":"{auth}"}}}}}}"#),
        format!(r#"{{"AUTHS":{{"https://{host}/":{{"USERNAME":"robot","Password":"{PASSWORD}"}}}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}","identitytoken":null,"email":null}}}},"credHelpers":null}}"#),
    ] {
        let file = bench.home.write("auth.json", &text);
        hides(bench.home.run(&["pull", "--authfile", &file, &name]).exits_in(&text, 0));
    }
}

#[test]
fn reads_credentials_from_a_file_that_an_option_or_a_variable_names() {
    let (bench, name) = bench_for("robot");
    for text in [format!("robot:{PASSWORD}"), format!("robot:{PASSWORD}\n"), format!("robot:{PASSWORD}\r\n")] {
        let file = bench.home.write("creds", &text);
        hides(bench.home.run(&["pull", "-v", "--creds-file", &file, &name]).exits_in(&text, 0));
        hides(bench.home.pullet(&["pull", &name]).env("PULLET_CREDS_FILE", &file).run().exits_in(&text, 0));
    }
    let (wrong, right) = (bench.home.write("wrong", "other:x"), bench.home.write("right", format!("robot:{PASSWORD}")));
    // Options come before the variable.
    let typed = format!("robot:{PASSWORD}");
    let authfile = bench.home.write(
        "auth.json",
        format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, bench.registry.host(), base64(typed.as_bytes())),
    );
    for option in [["--creds-file", &right], ["--creds", &typed], ["--authfile", &authfile]] {
        let args = [&["pull", &name][..], &option].concat();
        bench.home.pullet(&args).env("PULLET_CREDS_FILE", &wrong).run().exits_in(option[0], 0);
    }
    bench.home.pullet(&["pull", &name]).env("PULLET_CREDS_FILE", "").run().exits(4);
    bench.registry.clear_log();
    let missing = bench.home.arg("missing");
    hides(bench.home.run(&["pull", "--creds", &typed, "--creds-file", &right, &name]).exits(2)).says("exclude");
    bench.home.run(&["pull", "--creds-file", &missing, &name]).exits(2).fails_in_one_line().says(&missing);
    bench.home.pullet(&["pull", &name]).env("PULLET_CREDS_FILE", &missing).run().exits(2).says(&missing);
    bench.home.run(&["pull", "--creds-file", "/dev/zero", &name]).exits(2).fails_in_one_line().says("/dev/zero");
    // Credentials are for one registry.
    for args in
        [&["pull", "--creds-file", &right, &name, "other.example/app"][..], &["pull", &name, "other.example/app"]]
    {
        let outcome = bench.home.pullet(args).env("PULLET_CREDS_FILE", &right).run().exits(2);
        outcome.says("--creds-file").says("several");
    }
    assert_eq!(bench.registry.calls().len(), 0);
}

#[test]
fn the_hint_for_credentials_that_a_token_endpoint_refuses_does_not_ask_for_credentials() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", Some(&format!("Basic {}", base64(format!("robot:{PASSWORD}").as_bytes()))));
    let name = Image::small("refused").push(&bench.registry, "app", "latest");
    let refused = bench.home.run(&["pull", "--creds", "robot:wrong", &name]).exits(4);
    refused.says("hint: check the user name and the password").hides("pullet login or");
    bench.home.run(&["pull", &name]).exits(4).says("hint: use pullet login or --creds");
}

#[test]
fn credential_helpers_of_registries_conf_are_used_in_their_order() {
    let (bench, name) = bench_for("robot");
    let host = bench.registry.host();
    let path = helper(&bench.home, "good", &helper_output("robot", PASSWORD));
    helper(&bench.home, "bad", &helper_output("other", PASSWORD));
    helper(&bench.home, "none", "echo 'credentials not found in native keychain'; exit 1");
    let entry = |user: &str| {
        let auth = base64(format!("{user}:{PASSWORD}").as_bytes());
        format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#)
    };
    for (list, user, expected) in [
        (r#"["good"]"#, "other", 0),
        (r#"["none", "good"]"#, "other", 0),
        (r#"["missing", "good"]"#, "other", 0),
        (r#"["good", "containers-auth.json"]"#, "other", 0),
        (r#"["containers-auth.json", "bad"]"#, "robot", 0),
        (r#"["none", "containers-auth.json"]"#, "robot", 0),
        // Without that entry, the files are not used.
        (r#"["none"]"#, "robot", 4),
        ("[]", "robot", 0),
    ] {
        write(&bench.home, "home/.docker/config.json", &entry(user));
        let conf = bench.home.write("registries.conf", format!("credential-helpers = {list}\n"));
        let run = |args: &[&str]| {
            let pullet = bench.home.pullet(args).env("PATH", &path).env("CONTAINERS_REGISTRIES_CONF", &conf);
            hides(pullet.run())
        };
        run(&["pull", &name]).exits_in(list, expected);
        run(&["config", &name]).exits_in(list, 0);
    }
    // A file that an option names is the only source.
    let conf = bench.home.write("registries.conf", "credential-helpers = ['bad']\n");
    let file = bench.home.write("auth.json", entry("robot"));
    let pullet = bench.home.pullet(&["pull", "--authfile", &file, &name]).env("PATH", &path);
    pullet.env("CONTAINERS_REGISTRIES_CONF", &conf).run().exits(0);
    // `login` stores where `pull` looks first, and `logout` removes it there.
    let conf = bench.home.write("registries.conf", "credential-helpers = ['good', 'containers-auth.json']\n");
    let before = std::fs::read(bench.home.path("home/.docker/config.json")).unwrap();
    let login = bench.home.pullet(&["login", "-u", "robot", "--password-stdin", &host]).env("PATH", &path);
    hides(login.env("CONTAINERS_REGISTRIES_CONF", &conf).stdin(PASSWORD).run().exits(0));
    assert_eq!(std::fs::read(bench.home.path("home/.docker/config.json")).unwrap(), before);
    let logout = bench.home.pullet(&["logout", &host]).env("PATH", &path);
    logout.env("CONTAINERS_REGISTRIES_CONF", &conf).run().exits(0);
    let calls = std::fs::read_to_string(bench.home.path("calls")).unwrap();
    assert!(calls.contains("store ") && calls.contains(&format!("erase {host}\n")), "{calls}");
}
