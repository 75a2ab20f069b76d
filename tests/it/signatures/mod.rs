//! Signatures of images: an image without the signatures that are demanded is refused, before anything but manifests and
//! signatures is requested.

mod accepted;
mod failing;
mod keys;
mod peers;
mod pitfalls;
mod refused;
mod stored;

use std::sync::OnceLock;

use kit::bench::Bench;
use kit::image::Image;
use kit::process::Finished;
use kit::signature::Signer;

/// The repository of the tests.
const APP: &str = "app";

/// A registry with an image that is not signed yet, and a home.
struct Scene {
    bench: Bench,
    image: Image,
    name: String,
}

impl Scene {
    fn new() -> Scene {
        let (bench, image) = (Bench::new(), Image::small("signed"));
        let name = image.push(&bench.registry, APP, "latest");
        Scene { bench, image, name }
    }

    /// Pulls with these options.
    fn pull(&self, options: &[&str]) -> Finished {
        self.bench.registry.clear_log();
        self.bench.home.run(&[&["pull", "-q"], options, &[&self.name]].concat())
    }

    /// Asserts that the image is refused for its signatures, and that only manifests and signatures were requested.
    #[track_caller]
    fn refuses(&self, case: &str, options: &[&str], text: &str) {
        self.pull(options).exits_in(case, 8).fails_in_one_line().says(text);
        self.assert_nothing_fetched(case);
    }

    #[track_caller]
    fn assert_nothing_fetched(&self, case: &str) {
        self.bench.assert_no_layer_requested(case, &self.image);
        assert_eq!(self.bench.registry.requests_to(&self.image.config_digest()), 0, "{case}: the config was requested");
    }

    /// Asserts that the image is pulled with these options.
    #[track_caller]
    fn accepts(&self, case: &str, options: &[&str]) {
        self.pull(options).exits_in(case, 0).prints(&format!("{}\n", self.name));
    }

    /// The requests of the last run, as `GET manifests/latest 200`. Digests and tags of digests are shortened.
    fn requests(&self) -> Vec<String> {
        let shorten = |line: String| {
            let digest = self.image.digest();
            let hex = digest.trim_start_matches("sha256:");
            line.replace(&format!("/v2/{APP}/"), "").replace(hex, "IMAGE")
        };
        self.bench.registry.log().into_iter().map(shorten).collect()
    }
}

/// A signer with a P-256 key, which all tests share.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}

/// Another signer with a P-256 key.
fn stranger() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}
