//! `inspect` and `history` of one platform among several in the store.

use serde_json::json;

use super::pull;
use crate::lookup::{REF_NAME, named, native, other, write_store};
use kit::bench::Bench;
use kit::home::Home;
use kit::image::{OCI_INDEX, architecture, index};

#[test]
fn inspect_and_history_take_a_platform() {
    let home = Home::new();
    let (here, other) = (native("here"), other());
    let platform = format!("linux/{}", architecture());
    let document = index(&[other.entry("linux/s390x"), here.entry(&platform)]).to_string().into_bytes();
    let entry = json!({ "mediaType": OCI_INDEX, "digest": kit::digest::sha256(&document), "size": document.len() });
    let entry = named(entry, json!({ REF_NAME: "r.example/app:1" }));
    write_store(&home, &[&here, &other], std::slice::from_ref(&document), &[entry]);
    let name = "r.example/app:1";
    for (options, image) in
        [(&[][..], &here), (&["--platform", &platform], &here), (&["--platform=linux/s390x"], &other)]
    {
        let id = format!("{}\n", image.config_digest());
        home.run(&[&["inspect", "-f", "{{.Id}}"], options, &[name]].concat()).exits(0).prints(&id);
        let shown = home.run(&[&["history", "--no-trunc", "--format={{.ID}}"], options, &[name]].concat()).exits(0);
        assert_eq!(shown.stdout.lines().next(), Some(image.config_digest().as_str()), "{shown}");
    }
    // The variable is for requests. It does not hide an image that is there.
    let args = ["inspect", "-f", "{{.Id}}", name];
    let id = format!("{}\n", here.config_digest());
    home.pullet(&args).env("DOCKER_DEFAULT_PLATFORM", "linux/s390x").run().exits(0).prints(&id);
    for command in ["inspect", "history"] {
        let outcome = home.run(&[command, "--platform", "linux/ppc64le", name]).exits(10).fails_in_one_line();
        outcome.says("no image for platform linux/ppc64le").says("this name offers linux/s390x");
    }
    // An image that is the only one of its name is not printed for another platform.
    let bench = Bench::new();
    let name = pull(&bench, &here, "app", "1");
    bench.home.run(&["history", "--platform", &platform, &name]).exits(0);
    for command in ["inspect", "history"] {
        let outcome = bench.home.run(&[command, "--platform", "linux/ppc64le", &name]).exits(10).fails_in_one_line();
        outcome.says("no image for platform linux/ppc64le").says(&format!("this name offers {platform}"));
    }
}
