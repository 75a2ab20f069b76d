//! Tests of the public interface of the library that cannot be done through the program.

use std::process::Command;
use std::sync::Mutex;
#[cfg(feature = "manage")]
use std::time::Duration;
use std::time::Instant;

use kit::digest::base64;
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;
use pullet::{Advice, Cancel, Client, Credentials, ErrorKind, Event, LayerState, Options, Reference, Silent, Store};
#[cfg(feature = "manage")]
use pullet::{WatchOptions, WatchOutcome};

const LOGIN: &str = "robot:s3cret";

/// The variable with the name of the image for a test that runs itself again with another environment.
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
fn login_needs_a_file_when_the_configuration_of_the_machine_is_off() {
    let registry = registry_with_login(&Image::small("login"));
    let credentials = Credentials::new("robot", "s3cret").unwrap();
    let client = Client::new(Options::new().system_configuration(false)).unwrap();
    let error = client.login(&registry.host(), &credentials, &Silent).unwrap_err();
    assert_eq!((error.kind(), error.advice()), (ErrorKind::Usage, Some(&Advice::GiveAuthFile)));
    assert!(error.to_string().ends_with("there is no file for credentials: the machine's configuration is not used"));
    assert_eq!(client.login_file(&registry.host()).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(client.logout(&registry.host()).unwrap_err().kind(), ErrorKind::Usage);
    // With a file by value, the same works.
    let home = Home::new();
    let file = home.path("auth.json");
    let client = Client::new(Options::new().system_configuration(false).authfile(&file)).unwrap();
    client.login(&registry.host(), &credentials, &Silent).unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains(&base64(LOGIN.as_bytes())));
}

#[test]
fn a_proxy_can_be_given_by_value() {
    let options = Options::new().proxy("http://127.0.0.1:1").retries(0);
    // Nothing listens there, so the error shows that the proxy was used; loopback itself would bypass it.
    assert_eq!(pull(options, "registry.example/app:1"), Err(ErrorKind::Network));
    assert_eq!(pull(Options::new().proxy("ftp://x").retries(0), "registry.example/app:1"), Err(ErrorKind::Usage));
}

#[test]
fn the_plan_is_reported_before_the_first_layer_is_requested() {
    let registry = Registry::plain();
    let image = Image::small("plan");
    image.push(&registry, "app", "latest");
    let events = Mutex::new(Vec::new());
    let size = image.layers[0].blob.len() as u64;
    let progress = |event: Event<'_>| {
        let text = match event {
            Event::Plan { layers, missing, bytes, .. } => {
                assert!(missing == 0 || registry.requests_to(&image.layers[0].digest()) == 0);
                format!("plan {layers} {missing} {}", bytes == size)
            }
            Event::Layer { state: LayerState::Complete, .. } => "complete".to_owned(),
            _ => return,
        };
        events.lock().unwrap().push(text);
    };
    let home = Home::new();
    let client = Client::new(Options::new()).unwrap();
    let name: Reference = registry.name("app:latest").parse().unwrap();
    let store = Store::open(home.store());
    client.pull(&name, &store, &progress).unwrap();
    client.pull(&name, &store, &progress).unwrap();
    assert_eq!(*events.lock().unwrap(), ["plan 1 1 true", "complete", "plan 1 0 false"]);
}

#[test]
fn one_call_is_cancelled_and_the_next_is_not() {
    let registry = Registry::plain();
    Image::small("cancel").push(&registry, "app", "latest");
    let home = Home::new();
    let client = Client::new(Options::new()).unwrap();
    let name: Reference = registry.name("app:latest").parse().unwrap();
    let store = Store::open(home.store());
    let cancel = Cancel::default();
    cancel.cancel();
    let cancelled = client.with_cancel(&cancel).pull(&name, &store, &Silent);
    let error = cancelled.map(|pulled| pulled.is_new).unwrap_err();
    assert_eq!((error.kind(), error.kind().is_transient()), (ErrorKind::Interrupted, false));
    let late = Cancel::with_deadline(Instant::now());
    let late = client.with_cancel(&late).pull(&name, &store, &Silent);
    assert_eq!(late.map(|pulled| pulled.is_new).map_err(|e| e.kind()), Err(ErrorKind::Network));
    assert_eq!(client.pull(&name, &store, &Silent).map(|pulled| pulled.is_new).map_err(|e| e.kind()), Ok(true));
}

#[test]
#[cfg(feature = "manage")]
fn a_watch_calls_a_function_until_it_is_cancelled() {
    let registry = Registry::plain();
    Image::small("first").push(&registry, "app", "latest");
    let home = Home::new();
    let cancel = Cancel::default();
    let client = Client::new(Options::new().cancel(cancel.clone())).unwrap();
    let name: Reference = registry.name("app:latest").parse().unwrap();
    let store = Store::open(home.store());
    let options = WatchOptions::in_store(&store, &name).interval(Duration::from_millis(1));
    let mut digests = Vec::new();
    let end = client.watch(&name, &options, &Silent, &mut |digest| {
        digests.push(*digest);
        if digests.len() == 2 {
            cancel.cancel();
        } else {
            Image::small("second").push(&registry, "app", "latest");
        }
        WatchOutcome::Done
    });
    assert_eq!(end.map_err(|e| e.kind()), Err(ErrorKind::Interrupted));
    assert_eq!(digests.len(), 2);
    let once = Client::new(Options::new()).unwrap();
    let end = once.watch(&name, &options.once(true), &Silent, &mut |_| WatchOutcome::Failed);
    assert_eq!(end.unwrap(), None, "it was recorded as done before the cancellation");
}

#[test]
fn debug_output_of_a_client_has_no_secrets() {
    let credentials = Credentials::new("robot", "s3cret").unwrap();
    let client = Client::new(Options::new().credentials(credentials)).unwrap();
    assert!(!format!("{client:?}").contains("s3cret"));
    assert_eq!(ErrorKind::RateLimited.to_string(), "rate-limited");
    assert_eq!(ErrorKind::RateLimited.exit_code(), 6);
}
