//! The events of `--progress json` and `docs/events.schema.json`, which documents them for programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kit::archive::{char_device, file};
use kit::bench::Bench;
use kit::fault::on;
use kit::image::{Image, Layer};
use kit::schema::check;
use serde_json::{Value, json};

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The events that the schema documents.
fn documented(schema: &Value) -> BTreeSet<String> {
    schema["oneOf"].as_array().unwrap().iter().map(|event| event["title"].as_str().unwrap().to_owned()).collect()
}

/// Runs of pullet that have all events together.
struct Runs {
    bench: Bench,
    schema: Value,
    events: Vec<Value>,
}

impl Runs {
    fn new() -> Runs {
        Runs { bench: Bench::new(), schema: schema(), events: Vec::new() }
    }

    /// Runs pullet, and checks each event and that the first and last are what they must be. Returns the last.
    #[track_caller]
    fn run(&mut self, code: i32, args: &[&str]) -> Value {
        let outcome = self.bench.home.run(&[args, &["--progress", "json"]].concat());
        let outcome = outcome.exits_in(&format!("{args:?}"), code);
        let events: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for event in &events {
            check(&self.schema, event).unwrap_or_else(|difference| panic!("{event}\n{difference}\n{outcome}"));
        }
        let edges = [&events[0], &events[events.len() - 1]].map(|event| &event["event"]);
        assert_eq!(edges, ["start", "end"], "{outcome}");
        let inner = &events[1..events.len() - 1];
        assert!(inner.iter().all(|event| event["event"] != "start" && event["event"] != "end"), "{outcome}");
        self.events.extend(events.iter().cloned());
        events.last().unwrap().clone()
    }
}

fn image() -> Image {
    Image::new((0..3).map(|n| Layer::of(&[file(format!("f{n}"), format!("body {n}").repeat(100))])).collect())
}

#[test]
fn every_event_is_documented_and_every_documented_event_occurs() {
    let mut runs = Runs::new();
    let image = image();
    let name = image.push(&runs.bench.registry, "app", "latest");
    let other = Image::small("y").push(&runs.bench.registry, "other", "2");
    let missing = runs.bench.registry.name("missing");
    let [root, streamed, tar, files] =
        ["root", "streamed", "archive.tar", "files"].map(|name| runs.bench.home.arg(name));

    // A pull of several names, with a temporary failure.
    runs.bench.registry.fault(on(image.layers[1].digest()).nth(1).cut(10));
    let end = runs.run(0, &["pull", "-v", "--retries", "2", &name, &other]);
    assert_eq!(runs.events[0]["command"], "pull");
    let ids = [&image, &Image::small("y")].map(|image| Value::from(image.config_digest()));
    assert_eq!([&end["results"][0]["image_id"], &end["results"][1]["image_id"]], [&ids[0], &ids[1]], "{end}");
    assert_eq!(end["results"][0]["digest"], image.digest(), "{end}");
    assert_eq!([&end["results"][0]["name"], &end["results"][1]["name"]], [&name, &other], "{end}");
    assert_eq!([&end["results"][0]["is_new"], &end["results"][0]["path"]], [&json!(true), &json!(null)], "{end}");
    assert_eq!(runs.run(0, &["pull", &name])["results"][0]["is_new"], false);
    // What was done before an error is among the results.
    let end = runs.run(3, &["pull", &name, &missing]);
    assert_eq!((end["results"].as_array().unwrap().len(), &end["code"]), (1, &json!(3)), "{end}");

    let end = runs.run(0, &["unpack", &name, &root]);
    assert_eq!([&end["results"][0]["path"], &end["results"][0]["digest"]], [&root, &image.digest()], "{end}");
    assert!(end["results"][0]["bytes"].as_u64().unwrap() >= 1800, "{end}");
    runs.run(0, &["unpack", "--stream", "--pull", "always", &name, &streamed]);
    runs.run(9, &["unpack", &name, &root]);

    runs.run(0, &["save", "-o", &tar, &name]);
    let end = runs.run(0, &["load", "-i", &tar]);
    assert_eq!(end["results"][0]["name"], name, "{end}");
    runs.run(0, &["import", &tar]);
    runs.run(2, &["artifact", &name]);
    runs.run(10, &["artifact", &name, &files]);
    runs.run(0, &["digest", &name]);
    runs.run(3, &["digest", &missing]);
    runs.run(0, &["images"]);
    runs.run(0, &["--version"]);
    runs.run(2, &[]);
    runs.run(2, &["frobnicate"]);
    runs.run(2, &["pull", "--progress-fd", "99", &name]);
    // A hostile text stays one line.
    runs.bench.registry.fault(on("/manifests/").status(500).body("{\"errors\":[{\"code\":\"a\\nb\\u001b\"}]}"));
    runs.run(5, &["pull", &other]);

    // A warning: the device node is left out of the tree.
    runs.bench.registry.clear_faults();
    let device = Image::new(vec![Layer::of(&[char_device("null", 1, 3)])]).push(&runs.bench.registry, "device", "1");
    let target = runs.bench.home.arg("device");
    runs.run(0, &["unpack", "--no-devices", &device, &target]);

    runs.run(0, &["watch", "--once", "--exec", "true", &name]);
    runs.run(0, &["watch", "--once", "--exec", "true", &name]);
    assert_eq!(runs.run(3, &["watch", "--once", "--exec", "exit 3", &other])["word"], "command");

    let occurred: BTreeSet<String> =
        runs.events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(occurred, documented(&runs.schema));
    for state in ["waiting", "downloading", "exists", "complete"] {
        assert!(runs.events.iter().any(|event| event["state"] == state), "{state}");
    }
}

#[test]
fn the_schema_refuses_a_changed_event() {
    let mut runs = Runs::new();
    let name = image().push(&runs.bench.registry, "app", "latest");
    runs.run(0, &["pull", "-v", &name]);
    for event in &runs.events {
        for member in event.as_object().unwrap().keys() {
            let mut changed = event.clone();
            changed.as_object_mut().unwrap().remove(member);
            assert!(check(&runs.schema, &changed).is_err(), "{changed}");
            changed[member] = json!({});
            assert!(check(&runs.schema, &changed).is_err(), "{changed}");
        }
        let mut changed = event.clone();
        changed["more"] = json!(1);
        assert!(check(&runs.schema, &changed).is_err(), "{changed}");
    }
}
