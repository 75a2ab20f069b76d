//! `--format json` of the commands that print lists or facts and have no templates.

use kit::archive::{dir, file, symlink};
use kit::bench::Bench;
use kit::home::Home;
use kit::image::{Image, Layer};
use serde_json::{Value, json};

/// The lines of a command's standard output as JSON.
fn objects(home: &Home, args: &[&str]) -> Vec<Value> {
    let stdout = home.run(args).exits(0).stdout;
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lists_and_facts_are_printed_as_objects() {
    let (Bench { registry, home, .. }, image) = (Bench::new(), |text: &str| {
        Image::new(vec![Layer::of(&[dir("etc"), file("etc/a", text.as_bytes()), symlink("etc/b", "a")])])
    });
    let (one, two) = (image("one"), image("and two"));
    let (first, second) = (one.push(&registry, "app", "1"), two.push(&registry, "app", "2"));
    let repository = registry.name("app");
    let digest = two.digest();

    assert_eq!(
        objects(&home, &["tags", "--format", "json", &repository]),
        [json!({ "Repository": repository, "Tags": ["1", "2"] })]
    );
    assert_eq!(objects(&home, &["digest", "--format", "json", &second]), [json!({ "Name": second, "Digest": digest })]);

    home.run(&["pull", "-q", &first, &second]).exits(0);
    let files = objects(&home, &["ls", "--format", "json", &second, "/etc"]);
    let shown: Vec<_> =
        files.iter().map(|file| [&file["Path"], &file["Mode"], &file["Size"], &file["Target"]]).collect();
    assert_eq!(json!(shown), json!([["a", "-rw-r--r--", 7, null], ["b", "lrwxrwxrwx", 0, "a"]]),);
    assert_eq!(
        objects(&home, &["diff", "--format", "json", &first, &second]),
        [json!({ "Kind": "C", "Path": "/etc" }), json!({ "Kind": "C", "Path": "/etc/a" })]
    );

    let root = home.arg("root");
    home.run(&["unpack", "-q", "--replace", &second, &root]).exits(0);
    let mut releases = objects(&home, &["releases", "--format", "json", &root]);
    assert!(releases[0]["Unpacked"].take().is_string());
    assert_eq!(releases, [json!({ "Number": 1, "Current": true, "Name": second, "Digest": digest, "Unpacked": null })]);

    assert_eq!(
        objects(&home, &["verify", "--format", "json", &second]),
        [json!({ "Verified": 3, "Corrupt": 0, "Removed": false })]
    );
    let facts = objects(&home, &["config", "--format", "json", &second]);
    let fact = |facts: &Value, key: &str| {
        facts
            .as_array()
            .unwrap()
            .iter()
            .find(|fact| fact["Key"] == key)
            .unwrap_or_else(|| panic!("{key}: {facts}"))
            .clone()
    };
    let facts = json!(facts);
    assert_eq!(fact(&facts, "name")["Value"], json!(second));
    assert_eq!(fact(&fact(&facts, "endpoint")["Details"], "from")["Value"], "its name");

    for args in [&["tags", "--format", "yaml", &repository][..], &["ls", "-l", "--format", "json", &second]] {
        home.run(args).exits(2);
    }
}
