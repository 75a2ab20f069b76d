//! Mirrors: a registry with an image, others that have it too, and what the machine is told of them.

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

    /// `hosts.toml` for the origin, with each host's URL and what is said of it.
    fn hosts(&self, hosts: &[(&str, &str)]) -> String {
        let text: String = hosts.iter().map(|(url, said)| format!("[host.\"{url}\"]\n{said}\n")).collect();
        self.config(&format!("containerd/certs.d/{}/hosts.toml", self.origin.host()), &text)
    }

    /// `registries.conf` with an entry for the origin and mirrors of it.
    fn registries(&self, said: &str, mirrors: &[&str]) -> String {
        let mirrors: String = mirrors.iter().map(|said| format!("[[registry.mirror]]\n{said}\n")).collect();
        let text = format!("[[registry]]\nlocation = \"{}\"\n{said}\n{mirrors}", self.origin.host());
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

    /// How many requests the origin had, then each mirror.
    #[track_caller]
    fn assert_requests(&self, case: &str, expected: &[usize]) {
        let all = || std::iter::once(&self.origin).chain(&self.mirrors);
        let asked: Vec<usize> = all().map(|registry| registry.log().len()).collect();
        let logs: Vec<String> = all().map(|registry| registry.log().join("\n")).collect();
        assert_eq!(asked, expected, "{case}\n{}", logs.join("\n--\n"));
    }

    #[track_caller]
    fn whole(&self, case: &str) {
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

/// Status and range of each request for this.
fn ranges(registry: &Registry, what: &str) -> Vec<(u16, Option<String>)> {
    let calls = registry.calls().into_iter().filter(|call| call.request.target.contains(what));
    calls.map(|call| (call.status, call.request.header("range").map(str::to_string))).collect()
}
