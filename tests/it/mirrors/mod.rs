//! Mirrors: a registry with an image, mirrors that have it too, and their configuration.

mod configured;
mod failing;
mod trusted;

use std::fs;

use kit::archive::file;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::noise::Noise;
use kit::process::Finished;
use kit::registry::Registry;

/// A registry with an image, and mirrors that have it too.
struct Scene {
    origin: Registry,
    mirrors: Vec<Registry>,
    home: Home,
    image: Image,
    name: String,
}

impl Scene {
    fn new(mirrors: usize) -> Scene {
        Scene::of((0..mirrors).map(|_| Registry::plain()).collect())
    }

    fn of(mirrors: Vec<Registry>) -> Scene {
        let layers = (1..=2).map(|n| Layer::of(&[file(format!("noise-{n}"), Noise::new(n).bytes(600_000))])).collect();
        let (origin, image) = (Registry::plain(), Image::new(layers));
        let name = image.push(&origin, "ns/app", "latest");
        mirrors.iter().for_each(|mirror| drop(image.push(mirror, "ns/app", "latest")));
        Scene { origin, mirrors, home: Home::new(), image, name }
    }

    /// Writes a file below `~/.config`.
    fn config(&self, path: &str, text: &str) -> String {
        let path = format!("home/.config/{path}");
        fs::create_dir_all(self.home.path(&path).parent().unwrap()).unwrap();
        self.home.write(&path, text)
    }

    /// Writes `hosts.toml` for the origin, with the URL and the settings of each host.
    fn hosts(&self, hosts: &[(&str, &str)]) -> String {
        let text: String = hosts.iter().map(|(url, settings)| format!("[host.\"{url}\"]\n{settings}\n")).collect();
        self.config(&format!("containerd/certs.d/{}/hosts.toml", self.origin.host()), &text)
    }

    /// Writes `registries.conf` with an entry for the origin and its mirrors.
    fn registries(&self, settings: &str, mirrors: &[&str]) -> String {
        let mirrors: String = mirrors.iter().map(|mirror| format!("[[registry.mirror]]\n{mirror}\n")).collect();
        let text = format!("[[registry]]\nlocation = \"{}\"\n{settings}\n{mirrors}", self.origin.host());
        self.config("containers/registries.conf", &text)
    }

    /// `--registry-mirror` for each mirror, in order.
    fn options(&self) -> Vec<String> {
        let option = |mirror: &Registry| format!("--registry-mirror={}={}", self.origin.host(), mirror.url(""));
        self.mirrors.iter().map(option).collect()
    }

    fn pull(&self) -> Finished {
        self.run(&["pull", &self.name])
    }

    fn run(&self, args: &[&str]) -> Finished {
        self.home.run(args)
    }

    fn pull_with_options(&self) -> Finished {
        self.home.run(&[vec!["pull".to_string()], self.options(), vec![self.name.clone()]].concat())
    }

    fn layer(&self, n: usize) -> String {
        self.image.layers[n].digest()
    }

    fn size(&self, n: usize) -> usize {
        self.image.layers[n].blob.len()
    }

    /// Asserts the number of requests to the origin, then to each mirror.
    #[track_caller]
    fn assert_requests(&self, case: &str, expected: &[usize]) {
        let all = || std::iter::once(&self.origin).chain(&self.mirrors);
        let counts: Vec<usize> = all().map(|registry| registry.log().len()).collect();
        let logs: Vec<String> = all().map(|registry| registry.log().join("\n")).collect();
        assert_eq!(counts, expected, "{case}\n{}", logs.join("\n--\n"));
    }

    #[track_caller]
    fn assert_stored(&self, case: &str) {
        for layer in &self.image.layers {
            assert!(fs::read(self.home.blob(&layer.digest())).unwrap() == layer.blob, "{case}");
        }
        assert_eq!(self.home.names(), std::slice::from_ref(&self.name), "{case}");
    }

    fn clear_log(&self) {
        self.origin.clear_log();
        self.mirrors.iter().for_each(Registry::clear_log);
        let _ = fs::remove_dir_all(self.home.store());
    }
}

/// Status and range of each request whose target contains this text.
fn ranges(registry: &Registry, text: &str) -> Vec<(u16, Option<String>)> {
    let calls = registry.calls().into_iter().filter(|call| call.request.target.contains(text));
    calls.map(|call| (call.status, call.request.header("range").map(str::to_string))).collect()
}
