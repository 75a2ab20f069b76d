//! Foreign layers, for which a manifest has URLs. They are fetched only if the user allows it and the registry does not have
//! them, over https, and without credentials (CVE-2020-15157).

use serde_json::{Value, json};

use kit::archive::file;
use kit::authority::Authority;
use kit::bench::Bench;
use kit::fault::{Fault, on};
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::process::Finished;
use kit::registry::Registry;

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// An image whose second layer is on another server. The registry has the layer, too, but answers 404 until its faults are
/// cleared.
struct Scene {
    bench: Bench,
    other: Registry,
    image: Image,
    ca: String,
}

impl Scene {
    fn new() -> Scene {
        let (bench, authority) = (Bench::new(), Authority::new());
        let other = Registry::tls(&authority);
        let image = Image::new(vec![Layer::of(&[file("a", "a")]), Layer::of(&[file("b", noise(9000))])]);
        other.serve("/layer", &image.layers[1].blob);
        bench.registry.fault(on(image.layers[1].digest()).status(404).body("{}"));
        let ca = bench.home.write("ca.pem", authority.pem());
        Scene { bench, other, image, ca }
    }

    fn run(&self, urls: &[String], options: &[&str]) -> Finished {
        let urls = json!(urls);
        let image = self.image.clone().edited(|m| {
            m["layers"][1]["mediaType"] = json!(FOREIGN);
            m["layers"][1]["urls"] = urls;
        });
        let name = image.push(&self.bench.registry, "app", "latest");
        // Not --ca-file, because with it pullet tries HTTPS first, and this registry has plain HTTP only.
        let variables = [("SSL_CERT_FILE", self.ca.as_str())];
        self.bench.home.pullet(&[&["unpack"], options, &[&name, "root"]].concat()).envs(&variables).run()
    }

    fn allowed(&self, urls: &[String]) -> Finished {
        self.run(urls, &["--allow-foreign-layers", "--creds", "user:s3cret"])
    }

    fn url(&self) -> String {
        self.other.url("/layer")
    }
}

#[test]
fn fetches_allowed_foreign_layers_without_credentials() {
    for options in [&[][..], &["-j", "2"], &["--stream"]] {
        let scene = Scene::new();
        scene.bench.registry.bearer("t0k", None);
        let options = [&["--allow-foreign-layers"], options].concat();
        scene.run(&["https://127.0.0.1:1/gone".to_owned(), scene.url()], &options).exits(0);
        assert_eq!(std::fs::read(scene.bench.home.path("root/b")).unwrap(), noise(9000));
        let calls = scene.other.calls();
        assert_eq!(calls.len(), 1, "{:?}", scene.other.log());
        assert_eq!(calls[0].request.header("authorization"), None);
    }
}

#[test]
fn rejects_foreign_layers_without_the_option() {
    for words in [&[][..], &["-j", "2"], &["--stream"]] {
        let scene = Scene::new();
        scene.run(&[scene.url()], words).exits(10).fails_in_one_line().says("--allow-foreign-layers");
        assert_eq!(scene.other.connections(), 0);
        assert_eq!(scene.bench.registry.requests_to(&scene.image.layers[1].digest()), 1);
        assert!(!scene.bench.home.path("root").exists());
    }
}

#[test]
fn prefers_the_registry_to_urls() {
    for words in [&[][..], &["--allow-foreign-layers"], &["--stream"], &["-j", "2"]] {
        let scene = Scene::new();
        scene.bench.registry.clear_faults();
        scene.run(&[scene.url()], words).exits(0);
        assert_eq!(scene.other.connections(), 0, "{words:?}");
    }
}

#[test]
fn sends_no_credentials_after_a_challenge_or_a_redirect() {
    let scene = Scene::new();
    let realm = format!("Bearer realm=\"{}\"", scene.other.url("/token"));
    scene.other.fault(on("/layer").challenge(&[&realm, "Basic realm=\"x\""]));
    scene.allowed(&[scene.url()]).exits(4).fails_in_one_line();
    assert_eq!(scene.other.log().len(), 1, "{:?}", scene.other.log());

    let scene = Scene::new();
    scene.other.serve("/further", &scene.image.layers[1].blob);
    scene.other.fault(on("/layer").redirect(307, scene.other.url("/further")));
    scene.allowed(&[scene.url()]).exits(0);
    assert!(scene.other.calls().iter().all(|call| call.request.header("authorization").is_none()));
}

/// The limit is the same as for other blobs.
#[test]
fn follows_ten_redirects() {
    let scene = Scene::new();
    let hops = ["/layer", "/ha", "/hb", "/hc", "/hd", "/he", "/hf", "/hg", "/hh", "/hi", "/hj"];
    for pair in hops.windows(2) {
        scene.other.fault(on(pair[0]).redirect(307, scene.other.url(pair[1])));
    }
    scene.other.serve("/hj", &scene.image.layers[1].blob);
    scene.allowed(&[scene.url()]).exits(0);
}

#[test]
fn verifies_foreign_layers_and_requires_https() {
    type Break = fn(Fault) -> Fault;
    let cases: [(&str, Break, i32); 4] = [
        ("a flipped bit", |fault| fault.flip(100), 8),
        ("missing", |fault| fault.status(404).body(""), 3),
        ("a redirect to http", |fault| fault.redirect(307, "http://127.0.0.1:1/x"), 11),
        ("endless redirects", |fault| fault.redirect(307, "/layer"), 11),
    ];
    for (case, edit, code) in cases {
        let scene = Scene::new();
        scene.other.fault(edit(on("/layer")));
        scene.allowed(&[scene.url()]).exits_in(case, code).fails_in_one_line();
        assert!(!scene.bench.home.path("root").exists(), "{case}");
    }
    for (url, code) in [("http://127.0.0.1:1/x", 11), ("file:///etc/passwd", 11), ("ftp://127.0.0.1/x", 11), ("", 11)] {
        Scene::new().allowed(&[url.to_owned()]).exits_in(url, code).fails_in_one_line();
    }
}

const LAYERS_WITH_URLS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+gzip",
];

fn with_urls(media_type: &str, urls: &Value) -> Image {
    Image::small("urls").edited(|m| {
        m["layers"][0]["mediaType"] = json!(media_type);
        m["layers"][0]["urls"] = urls.clone();
    })
}

#[test]
fn a_layer_with_urls_is_fetched_from_the_registry_that_has_it() {
    let other = Registry::plain();
    for media_type in LAYERS_WITH_URLS {
        for urls in [json!([other.url("/layer")]), json!(["file:///etc/passwd", ""]), json!([])] {
            let bench = Bench::new();
            bench.pull(&with_urls(media_type, &urls)).exits_in(&format!("{media_type} at {urls}"), 0);
        }
    }
    assert_eq!(other.connections(), 0, "the other server was contacted");
}

#[test]
fn rejects_a_foreign_layer_that_the_registry_lacks() {
    let other = Registry::plain();
    other.serve("/layer", &Image::small("urls").layers[0].blob);
    for media_type in LAYERS_WITH_URLS {
        for url in [&other.url("/layer"), "https://127.0.0.1:1/layer", "file:///etc/passwd", ""] {
            let bench = Bench::new();
            let image = with_urls(media_type, &json!([url]));
            bench.registry.fault(on(image.layers[0].digest()).status(404).body("{}"));
            let outcome = bench.pull(&image).exits_in(&format!("{media_type} at {url}"), 10).fails_in_one_line();
            outcome.says("URLs outside the registry").says("--allow-foreign-layers");
        }
    }
    assert_eq!(other.connections(), 0, "the other server was contacted");
    // Without URLs the layer is only missing.
    let (bench, image) = (Bench::new(), with_urls(LAYERS_WITH_URLS[0], &json!([])));
    bench.registry.fault(on(image.layers[0].digest()).status(404).body("{}"));
    bench.pull(&image).exits(3).fails_in_one_line();
}
