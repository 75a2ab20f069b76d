//! The library as a program embeds it: what only its public API can show.

use std::process::Command;

use kit::digest::base64;
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;
use pullet::{Client, Credentials, ErrorKind, Options, Reference, Silent, Store};

const LOGIN: &str = "robot:s3cret";

/// Names the registry to a test that runs itself again with another environment.
const REGISTRY: &str = "PULLET_TEST_REGISTRY";

fn registry_with_login(image: &Image) -> Registry {
    let registry = Registry::plain();
    registry.require(&format!("Basic {}", base64(LOGIN.as_bytes())), &["Basic realm=\"r\""]);
    image.push(&registry, "app", "latest");
    registry
}

fn pull(options: Options, name: &str) -> Result<bool, ErrorKind> {
    let home = Home::new();
    let name: Reference = name.parse().map_err(|e: pullet::Error| e.kind())?;
    let client = Client::new(options).map_err(|e| e.kind())?;
    let pulled = client.pull(&name, &Store::open(home.store()), &Silent);
    pulled.map(|pulled| pulled.is_new).map_err(|e| e.kind())
}

#[test]
fn the_configuration_of_the_machine_can_be_switched_off() {
    if let Ok(name) = std::env::var(REGISTRY) {
        // The child: credentials are in its environment.
        assert_eq!(pull(Options::new(), &name), Ok(true), "with the configuration of the machine");
        let isolated = || Options::new().system_configuration(false);
        assert_eq!(pull(isolated(), &name), Err(ErrorKind::Denied), "without it");
        let credentials = Credentials::new("robot", "s3cret").unwrap();
        assert_eq!(pull(isolated().credentials(credentials), &name), Ok(true), "with credentials by value");
        return;
    }
    let image = Image::small("library");
    let registry = registry_with_login(&image);
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, registry.host(), base64(LOGIN.as_bytes()));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_configuration_of_the_machine_can_be_switched_off"])
        .env(REGISTRY, registry.name("app:latest"))
        .env("DOCKER_AUTH_CONFIG", auths)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(registry.requests_to("manifests") > 0, "the child sent no request");
}

#[test]
fn a_proxy_can_be_given_by_value() {
    let options = Options::new().proxy("http://127.0.0.1:1").retries(0);
    // Nothing listens there, so the error shows that the proxy was used; loopback itself would bypass it.
    assert_eq!(pull(options, "registry.example/app:1"), Err(ErrorKind::Network));
    assert_eq!(pull(Options::new().proxy("ftp://x").retries(0), "registry.example/app:1"), Err(ErrorKind::Usage));
}
