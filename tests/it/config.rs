//! `pullet config` prints the settings for a name and the source of each one. It contacts no server, runs no program and
//! prints no secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kit::authority::Authority;
use kit::digest::base64;
use kit::home::Home;
use kit::image::architecture;
use kit::process::Finished;
use kit::registry::Registry;

fn write(home: &Home, path: &str, text: impl AsRef<[u8]>) -> String {
    let path = format!("home/{path}");
    fs::create_dir_all(home.path(&path).parent().unwrap()).unwrap();
    home.write(&path, text)
}

fn config(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> Finished {
    write(home, ".config/containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    home.pullet(&[&["config"], args].concat()).envs(variables).run().hides("s3cret")
}

#[test]
fn prints_all_settings_in_a_stable_form() {
    let (home, authority) = (Home::new(), Authority::new());
    let registries = write(
        &home,
        ".config/containers/registries.conf",
        "[[registry]]\nprefix = \"r.example/team\"\nlocation = \"inner.example:5000/t\"\n\
         [[registry.mirror]]\nlocation = \"m.example\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"d.example/x\"\npull-from-mirror = \"digest-only\"\n",
    );
    let ca = write(&home, ".config/containers/certs.d/inner.example:5000/ca.crt", authority.pem());
    let leaf = authority.issue(&["client"]);
    let certificate = write(&home, ".config/containers/certs.d/d.example/client.cert", &leaf.certificate);
    write(&home, ".config/containers/certs.d/d.example/client.key", &leaf.key);
    let auths = serde_json::json!({ "auths": {
        "inner.example:5000": { "auth": base64(b"robot:s3cret") },
        "m.example/app": { "identitytoken": "s3cret", "username": "ada" },
    }});
    let docker = write(&home, ".docker/config.json", auths.to_string());
    let bundle = home.write("bundle.pem", authority.pem());
    let policy = home.arg("home/.config/containers/policy.json");
    let mirror = "--registry-mirror=r.example=http://cache.example:81/p";
    let variables = [
        ("HTTPS_PROXY", "http://u:s3cret@proxy.example:3128"),
        ("NO_PROXY", "d.example"),
        ("SSL_CERT_FILE", &bundle),
        ("SSL_CERT_DIR", ""),
    ];
    let (store, architecture) = (home.store().display().to_string(), architecture());
    config(&home, &[mirror, "r.example/team/app:1"], &variables).exits(0).prints(&format!(
        "store: {store}
name: r.example/team/app:1
platform: linux/{architecture}
roots: $SSL_CERT_FILE ({bundle})
policy: {policy}
  rule: default
  requirement: insecureAcceptAnything
endpoint: http://cache.example:81/p/v2/team/app
  from: given explicitly
  asked for: tags, digests
  namespace: r.example
  proxy: none
  credentials: none
endpoint: https://m.example/v2/app, else http://m.example/v2/app
  from: {registries}
  asked for: tags, digests
  certificate: not verified ({registries})
  proxy: http://proxy.example:3128 ($HTTPS_PROXY)
  credentials: identity token of ada ({docker})
endpoint: https://d.example/v2/x/app
  from: {registries}
  asked for: digests
  certificate: verified
  client certificate: {certificate}
  proxy: none
  credentials: none
endpoint: https://inner.example:5000/v2/t/app
  from: {registries}
  asked for: tags, digests
  certificate: verified
  ca: {ca}
  proxy: http://proxy.example:3128 ($HTTPS_PROXY)
  credentials: robot ({docker})
"
    ));
}

#[test]
fn contacts_no_server_and_runs_no_program() {
    let (home, registry, mirror) = (Home::new(), Registry::plain(), Registry::plain());
    let helper = write(&home, "bin/docker-credential-touch", format!("#!/bin/sh\necho > {}\n", home.arg("touched")));
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let name = registry.name("app");
    let auths = serde_json::json!({
        "credHelpers": { registry.host(): "touch" },
        "auths": { registry.host(): { "auth": base64(b"robot:s3cret") } },
    });
    let docker = write(&home, ".docker/config.json", auths.to_string());
    let option = format!("--registry-mirror={}={}", registry.host(), mirror.url(""));
    let path = home.arg("home/bin");
    let outcome = config(&home, &[&option, &name], &[("PATH", &path)]).exits(0);
    let credentials = format!("  credentials: docker-credential-touch ({docker}), else robot ({docker})\n");
    assert!(outcome.stdout.ends_with(&credentials), "{outcome}");
    assert!(!home.path("touched").exists() && !home.store().exists());
    assert_eq!((registry.connections(), mirror.connections()), (0, 0));
}

#[test]
fn shows_which_settings_come_from_options() {
    let (home, authority) = (Home::new(), Authority::new());
    let ca = home.write("ca.pem", authority.pem());
    let leaf = authority.issue(&["client"]);
    let client = home.write("client.pem", format!("{}{}", leaf.certificate, leaf.key));
    let args = [
        &["--creds", "u:s3cret", "--ca-file", &ca, "--client-cert", &client, "--insecure-registry", "r.example"][..],
        &["--platform", "linux/arm/v6", "--store", "elsewhere", "r.example/app"],
    ]
    .concat();
    let policy = home.arg("home/.config/containers/policy.json");
    config(&home, &args, &[]).exits(0).prints(&format!(
        "store: elsewhere
name: r.example/app:latest
platform: linux/arm/v6
policy: {policy}
  rule: default
  requirement: insecureAcceptAnything
endpoint: https://r.example/v2/app, else http://r.example/v2/app
  from: its name
  asked for: tags, digests
  certificate: not verified (given explicitly)
  ca: given explicitly
  client certificate: given explicitly
  proxy: none
  credentials: u (given explicitly)
",
    ));
    // Of these options only --ca-file applies to mirrors.
    let args = [&["--registry-mirror=r.example=https://m.example"], &args[..]].concat();
    let outcome = config(&home, &args, &[]).exits(0);
    let mirror = "endpoint: https://m.example/v2/app\n  from: given explicitly\n  asked for: tags, digests\n  \
                  namespace: r.example\n  certificate: verified\n  ca: given explicitly\n  proxy: none\n  credentials: none\n";
    assert!(outcome.stdout.contains(mirror), "{outcome}");
}

#[test]
fn names_the_files_of_containerd_and_docker() {
    let home = Home::new();
    let hosts = write(
        &home,
        ".config/containerd/certs.d/_default/hosts.toml",
        "[host.\"https://spegel.example:30020\"]\ncapabilities = [\"pull\"]\nskip_verify = true\noverride_path = true\n",
    );
    let outcome = config(&home, &["alpine"], &[]).exits(0);
    let spegel = format!(
        "endpoint: https://spegel.example:30020/library/alpine\n  from: {hosts}\n  asked for: digests\n  \
         namespace: docker.io\n  certificate: not verified ({hosts})\n"
    );
    assert!(outcome.stdout.contains(&spegel), "{outcome}");
    fs::remove_file(&hosts).unwrap();
    fs::remove_dir(home.path("home/.config/containerd/certs.d/_default")).unwrap();
    let daemon = write(
        &home,
        ".config/docker/daemon.json",
        r#"{"registry-mirrors":["https://m.example"],"insecure-registries":["m.example"]}"#,
    );
    let outcome = config(&home, &["alpine"], &[]).exits(0);
    let mirror = format!(
        "m.example/v2/library/alpine\n  from: {daemon}\n  asked for: tags, digests\n  certificate: not verified ({daemon})\n"
    );
    assert!(outcome.stdout.contains(&mirror), "{outcome}");
    assert!(outcome.stdout.contains("endpoint: https://registry-1.docker.io/v2/library/alpine\n  from: its name\n"));
}

#[test]
fn escapes_untrusted_text() {
    let home = Home::new();
    let folder = home.path("od\u{1b}[31md");
    fs::create_dir_all(folder.join("containers")).unwrap();
    fs::write(folder.join("containers/registries.conf"), "[[registry]]\nlocation = \"r.example\"\n").unwrap();
    let outcome = config(&home, &["r.example/a"], &[("XDG_CONFIG_HOME", folder.to_str().unwrap())]).exits(0);
    outcome.hides("\u{1b}");
}
