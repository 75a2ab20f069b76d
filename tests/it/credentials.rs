//! Sources of credentials: the files of Docker, podman and skopeo, the environment, and credential helpers on `PATH`.

use std::fs;
use std::process::Command;

use kit::bench::Bench;
use kit::digest::base64;
use kit::home::Home;
use kit::image::Image;
use kit::process::Finished;
use kit::registry::Registry;

pub const PASSWORD: &str = "hunter2-s3cret";

pub fn basic(user: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{PASSWORD}").as_bytes()))
}

/// A credential file with one entry, for this user.
pub fn auths(key: &str, user: &str) -> String {
    let auth = base64(format!("{user}:{PASSWORD}").as_bytes());
    format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#)
}

/// A registry that accepts only this user, and the name of an image in it.
pub fn bench_for(user: &str) -> (Bench, String) {
    let bench = Bench::new();
    bench.registry.require(&basic(user), &[r#"Basic realm="registry""#]);
    let name = Image::small("creds").push(&bench.registry, "ns/app", "latest");
    (bench, name)
}

pub fn write(home: &Home, path: &str, text: &str) -> String {
    fs::create_dir_all(home.path(path).parent().unwrap()).unwrap();
    home.write(path, text)
}

/// Writes a shell script `docker-credential-NAME` that appends its calls to the file `calls`. Returns a `PATH` with it.
pub fn helper(home: &Home, name: &str, script: &str) -> String {
    fs::create_dir_all(home.path("bin")).unwrap();
    let calls = home.arg("calls");
    let script = format!("#!/bin/sh\nread server\necho \"$1 $server\" >> {calls}\n{script}\n");
    let draft = home.write("draft", script);
    let program = home.arg(&format!("bin/docker-credential-{name}"));
    // Another process writes the program: if this one had it open for writing while another thread forks, running it could
    // fail with "text file busy".
    let installed = Command::new("install").args(["-m", "755", &draft, &program]).status();
    assert!(installed.expect("install runs").success());
    format!("{}:/usr/bin:/bin", home.arg("bin"))
}

fn calls(home: &Home) -> String {
    fs::read_to_string(home.path("calls")).unwrap_or_default()
}

pub fn helper_output(user: &str, secret: &str) -> String {
    format!(r#"echo '{{"ServerURL":"x","Username":"{user}","Secret":"{secret}"}}'"#)
}

#[track_caller]
pub fn hides(outcome: Finished) -> Finished {
    let encoded = basic("robot").replace("Basic ", "");
    outcome.hides("hunter2").hides("s3cret").hides(&encoded)
}

#[test]
fn uses_the_first_source_with_credentials() {
    // The sources in order of precedence. Each run has one of them, with its own user, and all that follow it.
    let sources = [
        ("REGISTRY_AUTH_FILE", "named.json"),
        ("DOCKER_AUTH_CONFIG", ""),
        ("XDG_RUNTIME_DIR", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", "config/containers/auth.json"),
        ("DOCKER_CONFIG", "docker/config.json"),
    ];
    for first in 0..sources.len() {
        let (bench, name) = bench_for(sources[first].0);
        let host = bench.registry.host();
        let mut env = Vec::new();
        for (variable, path) in &sources[first..] {
            let text = auths(&host, variable);
            let value = match *path {
                "" => text,
                path => {
                    let file = write(&bench.home, path, &text);
                    let folder = file.trim_end_matches("/containers/auth.json").trim_end_matches("/config.json");
                    folder.to_string()
                }
            };
            env.push((*variable, value));
        }
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let outcome = bench.home.pullet(&["pull", "-v", &name]).envs(&env).run().exits_in(sources[first].0, 0);
        let from = if sources[first].1.is_empty() { "$DOCKER_AUTH_CONFIG" } else { sources[first].1 };
        hides(outcome).says(from).says(&format!("credentials for {host} ({})", sources[first].0));
    }
}

#[test]
fn finds_files_in_the_home_folder_without_variables() {
    for path in ["home/.config/containers/auth.json", "home/.docker/config.json"] {
        let (bench, name) = bench_for("robot");
        let file = write(&bench.home, path, &auths(&bench.registry.host(), "robot"));
        let outcome = bench.home.run(&["pull", "-v", &name]).exits_in(path, 0);
        hides(outcome).says(&format!("from {file}\n"));
        // The file is reported only with -v.
        bench.home.run(&["pull", &name]).exits(0).hides(path);
        let json = bench.home.run(&["pull", "-v", "--progress", "json", &name]).exits(0);
        hides(json).says(r#""event":"configured""#);
    }
    // As with Docker, $DOCKER_CONFIG replaces ~/.docker.
    let (bench, name) = bench_for("robot");
    write(&bench.home, "home/.docker/config.json", &auths(&bench.registry.host(), "robot"));
    let empty = bench.home.arg("empty");
    bench.home.pullet(&["pull", &name]).env("DOCKER_CONFIG", &empty).run().exits(4);
}

#[test]
fn options_take_precedence_over_the_environment() {
    let (bench, name) = bench_for("typed");
    let host = bench.registry.host();
    let other = bench.home.write("other.json", auths(&host, "other"));
    let typed = bench.home.write("typed.json", auths(&host, "typed"));
    let none = bench.home.write("none.json", "{}");
    let env: &[(&str, &str)] = &[("REGISTRY_AUTH_FILE", &other)];
    bench.home.pullet(&["pull", &name]).envs(env).run().exits_in("the other user", 4);
    bench.home.pullet(&["pull", "--authfile", &typed, &name]).envs(env).run().exits_in("--authfile", 0);
    let creds = format!("typed:{PASSWORD}");
    bench.home.pullet(&["pull", "--creds", &creds, "--authfile", &other, &name]).envs(env).run().exits_in("--creds", 0);
    // With --authfile no other source is read.
    bench.registry.require(&basic("other"), &[r#"Basic realm="registry""#]);
    bench.home.pullet(&["pull", "--authfile", &none, &name]).envs(env).run().exits_in("nothing in --authfile", 4);
    bench.home.pullet(&["pull", "--authfile", "/dev/null", &name]).envs(env).run().exits_in("/dev/null", 4);
}

#[test]
fn uses_the_entry_with_the_longest_matching_path() {
    let (bench, name) = bench_for("right");
    let host = bench.registry.host();
    let auth = |user: &str| base64(format!("{user}:{PASSWORD}").as_bytes());
    let entry = |key: &str, user: &str| format!(r#""{key}":{{"auth":"{}"}}"#, auth(user));
    for keys in [
        vec![entry(&host, "wrong"), entry(&format!("{host}/ns"), "right"), entry(&format!("{host}/n"), "wrong")],
        vec![entry(&format!("{host}/ns/app"), "right"), entry(&format!("{host}/ns"), "wrong")],
        vec![entry(&format!("https://{host}/v1/"), "right"), entry(&format!("{host}0"), "wrong")],
        vec![entry(&format!("http://{host}"), "right"), entry(&format!("{host}.evil.io"), "wrong")],
    ] {
        let text = format!(r#"{{"auths":{{{}}}}}"#, keys.join(","));
        let file = bench.home.write("auth.json", &text);
        bench.home.run(&["pull", "--authfile", &file, &name]).exits_in(&text, 0);
    }
    // Credentials for other registries are not sent.
    let port = host.rsplit(':').next().unwrap();
    for key in
        ["127.0.0.1", "127.0.0.1:1", "localhost", "docker.io", &format!("localhost:{port}"), &format!("{host}/n")]
    {
        bench.registry.clear_log();
        let file = bench.home.write("auth.json", auths(key, "right"));
        bench.home.run(&["pull", "--authfile", &file, &name]).exits_in(key, 4);
        let has_credentials =
            |registry: &Registry| registry.calls().iter().any(|call| call.request.header("authorization").is_some());
        assert!(!has_credentials(&bench.registry), "{key}");
    }
}

#[test]
fn a_broken_file_does_not_prevent_pulling_a_public_image() {
    let bench = Bench::new();
    let name = Image::small("public").push(&bench.registry, "app", "latest");
    let host = bench.registry.host();
    let huge = format!("{{}}{}", " ".repeat(2 << 20));
    for (case, text) in [
        ("truncated", r#"{"auths":{"s3cret"#),
        ("a string", r#""hunter2""#),
        ("a list", "[]"),
        ("auths as a list", r#"{"auths":["hunter2"]}"#),
        ("deeply nested", &"[".repeat(100_000)),
        ("invalid base64", &format!(r#"{{"auths":{{"{host}":{{"auth":"hunter2!"}}}}}}"#)),
        ("no colon", &format!(r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#, base64(b"hunter2"))),
        ("a token with a line break", &format!(r#"{{"auths":{{"{host}":{{"registrytoken":"hunter2\r\nX: y"}}}}}}"#)),
        ("huge", &huge),
    ] {
        let file = bench.home.write("auth.json", text);
        let outcome = bench.home.pullet(&["pull", "-v", &name]).env("REGISTRY_AUTH_FILE", &file).run();
        hides(outcome.exits_in(case, 0)).says("credentials left out: ").says(&file);
        // A broken file that --authfile names is an error.
        let outcome = bench.home.run(&["pull", "-v", "--authfile", &file, &name]).exits_in(case, 2);
        hides(outcome).fails_in_one_line().says(&file);
    }
    let env: &[(&str, &str)] = &[("DOCKER_AUTH_CONFIG", r#"{"auths":"hunter2"}"#)];
    hides(bench.home.pullet(&["pull", &name]).envs(env).run().exits(0)).says("$DOCKER_AUTH_CONFIG");
    // A missing file is ignored silently, unless --authfile names it.
    let missing = bench.home.arg("missing.json");
    bench.home.pullet(&["pull", &name]).env("REGISTRY_AUTH_FILE", &missing).run().exits(0).hides("left out");
    bench.home.run(&["pull", "--authfile", &missing, &name]).exits(2).fails_in_one_line().says(&missing);
    bench.home.run(&["pull", "--authfile", &bench.home.arg("home"), &name]).exits(9).fails_in_one_line();
    // Opening a FIFO must not block.
    let fifo = bench.home.arg("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    bench.home.pullet(&["pull", &name]).env("REGISTRY_AUTH_FILE", &fifo).run().exits(0);
    // A broken entry of another registry is ignored.
    let text = format!(r#"{{"auths":{{"other.io":{{"auth":"!"}},"{host}":{{}}}}}}"#);
    let file = bench.home.write("auth.json", text);
    bench.home.run(&["pull", "--authfile", &file, &name]).exits(0);
}

#[test]
fn calls_the_helper_of_the_registry() {
    let (bench, name) = bench_for("robot");
    let host = bench.registry.host();
    let path = helper(&bench.home, "own", &helper_output("robot", PASSWORD));
    helper(&bench.home, "all", &helper_output("wrong", PASSWORD));
    let env: &[(&str, &str)] = &[("PATH", &path)];
    // The registry's helper takes precedence over credsStore, and both over the entries of the file.
    let wrong = base64(format!("wrong:{PASSWORD}").as_bytes());
    for text in [
        format!(
            r#"{{"credHelpers":{{"{host}":"own","other.io":"all"}},"credsStore":"all","auths":{{"{host}":{{"auth":"{wrong}"}}}}}}"#
        ),
        format!(r#"{{"credsStore":"own","credHelpers":{{"other.io":"all"}},"auths":{{"{host}":{{}}}}}}"#),
        format!(r#"{{"credHelpers":{{"https://{host}/v1/":"own"}}}}"#),
    ] {
        let _ = fs::remove_file(bench.home.path("calls"));
        write(&bench.home, "home/.docker/config.json", &text);
        let outcome = bench.home.pullet(&["pull", "-v", &name]).envs(env).run().exits_in(&text, 0);
        hides(outcome).says("docker-credential-own");
        assert_eq!(calls(&bench.home), format!("get {host}\n"), "{text}");
    }
    // It is called once for all tags of a repository, and not at all if no request is sent.
    Image::small("more").push(&bench.registry, "ns/app", "two");
    let _ = fs::remove_file(bench.home.path("calls"));
    bench.home.pullet(&["pull", "-a", &bench.registry.name("ns/app")]).envs(env).run().exits(0);
    assert_eq!(calls(&bench.home), format!("get {host}\n"));
    bench.home.pullet(&["unpack", "--pull", "never", &name, &bench.home.arg("root")]).envs(env).run().exits(0);
    assert_eq!(calls(&bench.home), format!("get {host}\n"));
}

/// Anybody may be able to write to a folder that depends on where the program is started.
#[test]
fn runs_no_helper_in_a_relative_folder_of_the_path() {
    let (bench, name) = bench_for("robot");
    helper(&bench.home, "own", &helper_output("robot", PASSWORD));
    write(&bench.home, "home/.docker/config.json", r#"{"credsStore":"own"}"#);
    for path in ["bin", "./bin:/usr/bin:/bin"] {
        let outcome = bench.home.pullet(&["pull", &name]).env("PATH", path).run().exits_in(path, 4);
        outcome.says("docker-credential-own: not found on PATH");
    }
    assert_eq!(calls(&bench.home), "");
}

#[test]
fn falls_back_to_the_file_if_a_helper_has_no_credentials() {
    let (bench, name) = bench_for("robot");
    let host = bench.registry.host();
    let not_found = "echo 'credentials not found in native keychain'; exit 1";
    for script in [not_found, &helper_output("", "")] {
        let path = helper(&bench.home, "none", script);
        let auth = base64(format!("robot:{PASSWORD}").as_bytes());
        let text = format!(r#"{{"credsStore":"none","auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
        write(&bench.home, "home/.docker/config.json", &text);
        let outcome = bench.home.pullet(&["pull", &name]).env("PATH", &path).run().exits_in(script, 0);
        hides(outcome).hides("left out");
    }
}

#[test]
fn a_failing_helper_does_not_prevent_pulling_a_public_image() {
    let bench = Bench::new();
    let name = Image::small("public").push(&bench.registry, "app", "latest");
    let secret = helper_output("robot", PASSWORD);
    let path = helper(&bench.home, "fails", "echo 'no agent is running'; exit 1");
    helper(&bench.home, "silent", "exit 3");
    helper(&bench.home, "leaks", &format!("{secret}; exit 1"));
    helper(&bench.home, "garbage", "echo hunter2");
    helper(&bench.home, "half", "echo '{\"Username\":\"robot\",\"Secret\":'");
    helper(&bench.home, "number", "echo '{\"Username\":\"robot\",\"Secret\":7}'");
    helper(&bench.home, "colon", &helper_output("hunter2:x", PASSWORD));
    helper(&bench.home, "killed", "kill -9 $$");
    helper(&bench.home, "floods", "exec yes hunter2");
    helper(&bench.home, "stderr", "echo hunter2 >&2; exit 1");
    // A file that is not executable, and one that is only found by its path.
    bench.home.write("bin/docker-credential-plain", "");
    write(&bench.home, "bin/evil", "");
    let env: &[(&str, &str)] = &[("PATH", &path)];
    for (store, message) in [
        ("fails", "no agent is running"),
        ("silent", "docker-credential-silent"),
        ("leaks", "docker-credential-leaks"),
        ("garbage", "malformed output"),
        ("half", "malformed output"),
        ("number", "malformed output"),
        ("colon", "docker-credential-colon"),
        ("killed", "docker-credential-killed"),
        ("floods", "more than"),
        ("stderr", "docker-credential-stderr"),
        ("missing", "docker-credential-missing: not found on PATH"),
        ("plain", "not found on PATH"),
        ("../bin/evil", "not a plain word"),
        ("/bin/sh", "not a plain word"),
        ("", ""),
    ] {
        write(&bench.home, "home/.docker/config.json", &format!(r#"{{"credsStore":"{store}"}}"#));
        let outcome = bench.home.pullet(&["pull", "-v", &name]).envs(env).run().exits_in(store, 0);
        hides(outcome).says(message).says(if store.is_empty() { "" } else { "credentials left out: " });
    }
    // No helper is run from the working directory, or without a PATH.
    write(&bench.home, "home/.docker/config.json", r#"{"credsStore":"fails"}"#);
    for env in [&[("PATH", "bin:.:")][..], &[]] {
        let _ = fs::remove_file(bench.home.path("calls"));
        bench.home.pullet(&["pull", &name]).envs(env).run().exits(0).says("not found on PATH");
        assert_eq!(calls(&bench.home), "");
    }
}
