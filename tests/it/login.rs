//! `login` and `logout`: credentials are tried before they are stored, stored where other tools find them, and not printed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use kit::bench::Bench;
use kit::debian;
use kit::digest::base64;
use kit::fault::on;
use kit::home::Home;
use kit::image::Image;
use kit::process::{Finished, program};
use kit::registry::Registry;

const USER: &str = "robot:hunter2-s3cret";

fn encoded() -> String {
    base64(USER.as_bytes())
}

/// A registry that requires the Basic credentials of `USER`.
fn guarded() -> Bench {
    let bench = Bench::new();
    bench.registry.require(&format!("Basic {}", encoded()), &[r#"Basic realm="registry""#]);
    bench
}

fn login(bench: &Bench, options: &[&str], password: &[u8]) -> Finished {
    let host = bench.registry.host();
    let args = [&["login", "-u", "robot", "--password-stdin"], options, &[&host]].concat();
    bench.home.pullet(&args).stdin(password).run().hides("hunter2").hides("s3cret").hides(&encoded())
}

fn read(home: &Home, name: &str) -> Value {
    serde_json::from_slice(&fs::read(home.path(name)).unwrap()).unwrap()
}

fn mode(home: &Home, name: &str) -> u32 {
    fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777
}

/// Writes a credential helper that stores its entry in the folder `kept`. Returns a `PATH` with it.
fn credential_helper(home: &Home) -> String {
    fs::create_dir_all(home.path("bin")).unwrap();
    fs::create_dir_all(home.path("kept")).unwrap();
    let kept = home.arg("kept");
    let script = format!(
        "#!/bin/sh\ncd {kept}\ncase $1 in\nstore) cat > entry;;\nget) read server\n\
         grep -qs \"\\\"$server\\\"\" entry && cat entry && exit\necho credentials not found in native keychain; exit 1;;\n\
         erase) read server\ngrep -qs \"\\\"$server\\\"\" entry && rm entry && exit\n\
         echo credentials not found in native keychain; exit 1;;\nesac\n"
    );
    let draft = home.write("draft", script);
    let program = home.arg("bin/docker-credential-test");
    assert!(Command::new("install").args(["-m", "755", &draft, &program]).status().expect("install runs").success());
    format!("{}:/usr/bin:/bin", home.arg("bin"))
}

#[test]
fn stores_uses_and_removes_credentials() {
    for password in ["hunter2-s3cret", "hunter2-s3cret\n", "hunter2-s3cret\r\n"] {
        let bench = guarded();
        let host = bench.registry.host();
        let outcome = login(&bench, &["-v"], password.as_bytes()).exits_in(password, 0).prints("Login Succeeded\n");
        outcome.says("unencrypted in ").says("home/.docker/config.json");
        let file = "home/.docker/config.json";
        assert_eq!(read(&bench.home, file), json!({ "auths": { &host: { "auth": encoded() } } }));
        assert_eq!((mode(&bench.home, file), mode(&bench.home, "home/.docker")), (0o600, 0o700));
        assert_eq!(bench.registry.log(), ["GET /v2/ 401", "GET /v2/ 200"]);
        let name = Image::small("login").push(&bench.registry, "app", "latest");
        bench.home.run(&["pull", &name]).exits(0);
        let out = bench.home.run(&["logout", &host]).exits(0);
        out.prints(&format!("Removing login credentials for {host}\n"));
        assert_eq!(read(&bench.home, file), json!({ "auths": {} }));
        bench.home.run(&["pull", &name]).exits(4).says("pullet login");
        bench.home.run(&["logout", &host]).exits(0).prints(&format!("Not logged in to {host}\n"));
    }
}

#[test]
fn removes_temporary_files_of_dead_processes() {
    let bench = guarded();
    fs::create_dir(bench.home.path("home/.docker")).unwrap();
    let (dead, alive) = ("config.json.4194303.new", "config.json.4194302.new");
    let others = ["config.json.bak.new", "config.json..new", "config.json.1.old", "other.json.1.new"];
    for name in [dead, alive].iter().chain(&others) {
        bench.home.write(&format!("home/.docker/{name}"), "hunter2");
    }
    let held = fs::File::open(bench.home.path("home/.docker").join(alive)).unwrap();
    held.lock().unwrap();
    login(&bench, &[], b"hunter2-s3cret").exits(0);
    let entries = fs::read_dir(bench.home.path("home/.docker")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut expected = [&["config.json", alive][..], &others].concat();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn does_not_store_refused_credentials() {
    let bench = guarded();
    let outcome = login(&bench, &[], b"wrong").exits(4).prints("").fails_in_one_line();
    outcome.says("hint: check the user name and the password").hides("pullet login or");
    login(&bench, &[], b"").exits(2).fails_in_one_line();
    login(&bench, &[], b"\n").exits(2).fails_in_one_line();
    login(&bench, &[], &[b'x'; 100_000]).exits(2).fails_in_one_line();
    login(&bench, &[], b"\xff\xfe").exits(2).fails_in_one_line();
    assert_eq!(
        bench.registry.log().len(),
        2,
        "too many attempts, which can lock an account: {:?}",
        bench.registry.log()
    );
    bench.registry.fault(on("/v2/").status(500).body("no"));
    login(&bench, &[], b"hunter2-s3cret").exits(5).prints("").fails_in_one_line();
    assert!(!bench.home.path("home/.docker").exists());
    // Stored credentials are not used to log in.
    let bench = guarded();
    login(&bench, &[], b"hunter2-s3cret").exits(0);
    login(&bench, &[], b"wrong").exits(4);
    assert_eq!(read(&bench.home, "home/.docker/config.json")["auths"][bench.registry.host()]["auth"], encoded());
}

#[test]
fn requests_a_token_without_a_scope() {
    let bench = Bench::new();
    let realm = bench.registry.url("/token");
    bench.registry.tokens(Some(&format!("Basic {}", encoded())), r#"{"token":"t0ken"}"#);
    bench.registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{realm}",service="reg""#)]);
    login(&bench, &[], b"hunter2-s3cret").exits(0).prints("Login Succeeded\n");
    assert_eq!(bench.registry.log(), ["GET /v2/ 401", "GET /token?service=reg&account=robot 200", "GET /v2/ 200"]);
    let outcome = login(&bench, &[], b"wrong").exits(4).fails_in_one_line();
    outcome.says("hint: check the user name and the password").hides("pullet login or");
    // The rules for realms apply here, too, because another server could ask for the password.
    let other = Registry::plain();
    bench.registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{}",service="reg""#, other.url("/token"))]);
    login(&bench, &[], b"hunter2-s3cret").exits(4).fails_in_one_line();
    bench.registry.fault(on("/v2/").redirect(307, other.url("/v2/")));
    login(&bench, &[], b"hunter2-s3cret").exits_in("another server accepts the login", 4).fails_in_one_line();
    assert!(other.calls().iter().all(|call| call.request.header("authorization").is_none()));
}

#[test]
fn keeps_the_rest_of_the_file() {
    let bench = guarded();
    let host = bench.registry.host();
    let before = json!({
        "HttpHeaders": { "X-Meta": "y" },
        "auths": { "other.io": { "auth": "b3RoZXI6eA==" }, format!("https://{host}/v1/"): { "auth": "b2xkOnk=" }, format!("{host}/ns"): {} },
        "credHelpers": { "other.io": "x" },
        "detachKeys": "ctrl-e",
    });
    let file = bench.home.write("auth.json", before.to_string());
    fs::set_permissions(bench.home.path("auth.json"), fs::Permissions::from_mode(0o644)).unwrap();
    // A link to the file is kept.
    let link = bench.home.arg("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    login(&bench, &["--authfile", &link], b"hunter2-s3cret").exits(0);
    let mut expected = before.clone();
    let entries = expected["auths"].as_object_mut().unwrap();
    entries.remove(&format!("https://{host}/v1/"));
    entries.insert(host.clone(), json!({ "auth": encoded() }));
    assert_eq!(read(&bench.home, "auth.json"), expected);
    assert_eq!(mode(&bench.home, "auth.json"), 0o600);
    assert!(bench.home.path("link.json").is_symlink());
    let env: &[(&str, &str)] = &[("REGISTRY_AUTH_FILE", &link)];
    bench.home.pullet(&["logout", &host]).envs(env).run().exits(0);
    expected["auths"].as_object_mut().unwrap().remove(&host);
    assert_eq!(read(&bench.home, "auth.json"), expected);
    let mut left: Vec<_> = fs::read_dir(bench.home.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["auth.json", "home", "link.json"], "nothing is left behind, and no store was made");
}

#[test]
fn does_not_overwrite_a_broken_file() {
    let bench = guarded();
    for text in ["{", "[]", r#"{"auths":[]}"#, r#"{"auths":{"s3cret":"#] {
        let file = bench.home.write("auth.json", text);
        login(&bench, &["--authfile", &file], b"hunter2-s3cret").exits_in(text, 2).prints("").fails_in_one_line();
        let host = bench.registry.host();
        bench.home.run(&["logout", "--authfile", &file, &host]).exits_in(text, 2).fails_in_one_line();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let below = format!("{}/below", bench.home.write("file", ""));
    login(&bench, &["--authfile", &below], b"hunter2-s3cret").exits(9).fails_in_one_line();
}

#[test]
fn stores_credentials_in_a_configured_helper() {
    let bench = guarded();
    let host = bench.registry.host();
    let path = credential_helper(&bench.home);
    let config = json!({ "credHelpers": { &host: "test" }, "auths": { &host: {} } });
    fs::create_dir_all(bench.home.path("home/.docker")).unwrap();
    bench.home.write("home/.docker/config.json", config.to_string());
    let env: &[(&str, &str)] = &[("PATH", &path)];
    let args = ["login", "-u", "robot", "--password-stdin", &host];
    let outcome =
        bench.home.pullet(&args).envs(env).stdin(b"hunter2-s3cret").run().exits(0).prints("Login Succeeded\n");
    outcome.hides("unencrypted").hides("s3cret");
    assert_eq!(read(&bench.home, "home/.docker/config.json"), config);
    let kept = json!({ "ServerURL": &host, "Username": "robot", "Secret": "hunter2-s3cret" });
    assert_eq!(read(&bench.home, "kept/entry"), kept);
    let name = Image::small("login").push(&bench.registry, "app", "latest");
    bench.home.pullet(&["pull", "-v", &name]).envs(env).run().exits(0).says("docker-credential-test").hides("s3cret");
    bench
        .home
        .pullet(&["logout", &host])
        .envs(env)
        .run()
        .exits(0)
        .prints(&format!("Removing login credentials for {host}\n"));
    assert!(!bench.home.path("kept/entry").exists());
    bench.home.pullet(&["logout", &host]).envs(env).run().exits(0).prints(&format!("Not logged in to {host}\n"));
    // If the helper fails, the credentials are not written to the file instead.
    bench.home.write("home/.docker/config.json", json!({ "credsStore": "missing" }).to_string());
    let outcome = bench.home.pullet(&args).envs(env).stdin(b"hunter2-s3cret").run().exits(9).fails_in_one_line();
    outcome.says("docker-credential-missing").hides("s3cret");
    assert_eq!(read(&bench.home, "home/.docker/config.json"), json!({ "credsStore": "missing" }));
}

#[test]
fn uses_dockers_key_for_docker_hub() {
    let home = Home::new();
    for host in [&[][..], &["docker.io"], &["index.docker.io"], &["https://index.docker.io/v1/"]] {
        let text = json!({ "auths": { "https://index.docker.io/v1/": { "auth": encoded() }, "docker.io/ns": {} } });
        let file = home.write("auth.json", text.to_string());
        let args = [&["logout", "--authfile", &file], host].concat();
        home.run(&args)
            .exits(0)
            .prints(&format!("Removing login credentials for {}\n", host.first().unwrap_or(&"docker.io")));
        assert_eq!(read(&home, "auth.json"), json!({ "auths": { "docker.io/ns": {} } }));
    }
}

#[test]
fn does_not_prompt_without_a_terminal() {
    let bench = guarded();
    let host = bench.registry.host();
    for args in [&["login", "-u", "robot"][..], &["login"]] {
        let args = [args, &[&host]].concat();
        let outcome = bench.home.pullet(&args).stdin(b"hunter2-s3cret\n").run().exits_in(&format!("{args:?}"), 2);
        outcome.fails_in_one_line().says("--password-stdin");
    }
    bench.home.run(&["login", "r.io"]).exits(2);
    let env: &[(&str, &str)] = &[("HOME", "")];
    let args = ["login", "-u", "robot", "--password-stdin", &host];
    bench.home.pullet(&args).envs(env).stdin(b"hunter2-s3cret").run().exits(2).fails_in_one_line().says("--authfile");
    assert_eq!(bench.registry.connections(), 1, "{:?}", bench.registry.log());
}

#[test]
fn does_not_echo_a_password() {
    let bench = guarded();
    let command = format!("{} login {}", program().display(), bench.registry.host());
    let mut script = debian::command("script");
    script
        .args(["-qec", &command, "/dev/null"])
        .env_clear()
        .env("HOME", bench.home.path("home"))
        .env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut screen = String::new();
    for (question, answer) in [("Username: ", "robot\n"), ("Password: ", "hunter3\u{7f}2-s3cret\n")] {
        while !screen.ends_with(question) {
            let mut byte = [0];
            assert_eq!(output.read(&mut byte).unwrap(), 1, "login ended before the prompt: {screen}");
            screen.push(char::from(byte[0]));
        }
        input.write_all(answer.as_bytes()).unwrap();
    }
    output.read_to_string(&mut screen).unwrap();
    assert!(child.wait().unwrap().success(), "{screen}");
    assert!(screen.contains("Login Succeeded") && !screen.contains("s3cret"), "{screen}");
    assert_eq!(read(&bench.home, "home/.docker/config.json")["auths"][bench.registry.host()]["auth"], encoded());
}

#[test]
fn skopeo_and_pullet_read_each_others_files() {
    let bench = guarded();
    let host = bench.registry.host();
    let name = Image::small("login").push(&bench.registry, "ns/app", "latest");
    let skopeo = |args: &[&str]| {
        debian::run(
            debian::command("skopeo").args(args).env_remove("REGISTRY_AUTH_FILE").env("HOME", bench.home.path("home")),
        )
    };
    // skopeo logs in, pullet pulls and logs out.
    let file = bench.home.arg("skopeo.json");
    let (user, password) = USER.split_once(':').unwrap();
    skopeo(&["login", "--tls-verify=false", "--authfile", &file, "-u", user, "-p", password, &host]).expect(0);
    bench.home.run(&["pull", "--authfile", &file, &name]).exits(0);
    bench.home.run(&["logout", "--authfile", &file, &host]).exits(0);
    let inspect =
        |file: &str| skopeo(&["inspect", "--tls-verify=false", "--authfile", file, &format!("docker://{name}")]);
    assert_ne!(inspect(&file).code, Some(0));
    // pullet logs in, skopeo looks and logs out.
    login(&bench, &["--authfile", &file], password.as_bytes()).exits(0);
    inspect(&file).expect(0);
    skopeo(&["logout", "--authfile", &file, &host]).expect(0);
    bench.home.run(&["pull", "--authfile", &file, &name]).exits(4);
    // pullet reads skopeo's entry for a namespace.
    let namespace = format!("{host}/ns");
    skopeo(&["login", "--tls-verify=false", "--authfile", &file, "-u", user, "-p", password, &namespace]).expect(0);
    bench.home.run(&["pull", "--authfile", &file, &name]).exits(0);
    let other = Image::small("other").push(&bench.registry, "other/app", "latest");
    bench.home.run(&["pull", "--authfile", &file, &other]).exits(4);
    // pullet finds the file that skopeo writes without an option.
    let folder = bench.home.arg("run");
    fs::create_dir(&folder).unwrap();
    let mut command = debian::command("skopeo");
    command.args(["login", "--tls-verify=false", "-u", user, "-p", password, &host]);
    debian::run(command.env_remove("REGISTRY_AUTH_FILE").env("XDG_RUNTIME_DIR", &folder)).expect(0);
    bench.home.pullet(&["pull", &other]).env("XDG_RUNTIME_DIR", &folder).run().exits(0);
}
