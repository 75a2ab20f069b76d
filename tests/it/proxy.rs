//! Proxies from the environment: CONNECT with and without a login, hosts that bypass the proxy, and the messages.

use kit::authority::Authority;
use kit::bench::Bench;
use kit::digest::base64;
use kit::home::Home;
use kit::image::Image;
use kit::process::Finished;
use kit::proxy::Proxy;
use kit::registry::Registry;

/// A registry with TLS under a name that only the proxy can resolve, because loopback never goes through a proxy.
struct Scene {
    registry: Registry,
    home: Home,
    ca: String,
    name: String,
}

impl Scene {
    fn new() -> Scene {
        let authority = Authority::new();
        let registry = Registry::tls_for(&authority, &["registry.example"]);
        Image::small("proxy").push(&registry, "app", "latest");
        let home = Home::new();
        let ca = home.write("ca.pem", authority.pem());
        let name = format!("registry.example:{}/app", registry.port());
        Scene { registry, home, ca, name }
    }

    /// Pulls on a machine that can resolve the name of the registry.
    fn pull_resolving(&self, variables: &[(&str, &str)]) -> Finished {
        self.home
            .pullet(&["pull", "--ca-file", &self.ca, &self.name])
            .with_etc(&self.home.etc(&[]))
            .envs(variables)
            .run()
    }

    fn pull(&self, variables: &[(&str, &str)]) -> Finished {
        self.home.pullet(&["pull", "-v", "--ca-file", &self.ca, &self.name]).envs(variables).run()
    }
}

#[test]
fn https_goes_through_connect_in_one_tunnel() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        for prefix in ["http://", ""] {
            let (scene, proxy) = (Scene::new(), Proxy::connect());
            let outcome = scene.pull(&[(variable, &format!("{prefix}{}", proxy.host()))]).exits_in(variable, 0);
            outcome.says(&format!("proxy http://{}: from ${variable}", proxy.host()));
            assert_eq!(proxy.log(), [format!("registry.example:{}", scene.registry.port())], "{variable}");
            assert_eq!((scene.registry.connections(), scene.registry.calls().len()), (1, 3), "{variable}");
        }
    }
}

#[test]
fn sends_the_login_to_the_proxy_only_and_never_prints_it() {
    let login = format!("Basic {}", base64(b"me@work:s3cret:%"));
    let (scene, proxy) = (Scene::new(), Proxy::with_login(&login));
    let url = format!("http://me%40work:s3cret%3A%25@{}/", proxy.host());
    scene.pull(&[("HTTPS_PROXY", &url)]).exits(0).hides("s3cret").hides("me%40work").hides("me@work");
    for call in scene.registry.calls() {
        assert_eq!(call.request.header("proxy-authorization"), None, "{call}: the proxy's login leaked");
        assert_eq!(call.request.header("authorization"), None, "{call}: the proxy's login leaked");
    }
    for wrong in ["http://me%40work:0ther-s3cret@", "http://"] {
        let (scene, proxy) = (Scene::new(), Proxy::with_login(&login));
        let outcome = scene.pull(&[("HTTPS_PROXY", &format!("{wrong}{}", proxy.host()))]).exits_in(wrong, 4);
        outcome.fails_in_one_line().says("407").says("$HTTPS_PROXY").says("hint: ").hides("s3cret");
        assert_eq!((proxy.log().len(), scene.registry.connections()), (1, 0), "{wrong}");
    }
}

#[test]
fn reports_each_failure_of_a_proxy_with_its_own_exit_code() {
    for (answer, code) in [
        ("403 Forbidden", 4),
        ("407 Proxy Authentication Required", 4),
        ("502 Bad Gateway", 5),
        ("503 Service Unavailable", 5),
        ("204 No Content", 5),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", 5),
    ] {
        let (scene, proxy) = (Scene::new(), Proxy::refusing(answer));
        let outcome = scene.pull(&[("HTTPS_PROXY", &proxy.host())]).exits_in(answer, code);
        outcome.fails_in_one_line().says(&proxy.host());
        assert_eq!(scene.registry.connections(), 0, "{answer}: it continued without the proxy");
    }
    let scene = Scene::new();
    let outcome = scene.pull(&[("HTTPS_PROXY", "http://u:s3cret@127.0.0.1:1")]).exits(5).fails_in_one_line();
    outcome.says("through the proxy http://127.0.0.1:1 of $HTTPS_PROXY").hides("s3cret");
    assert_eq!(scene.registry.connections(), 0);
}

#[test]
fn verifies_the_certificate_through_a_proxy() {
    let (scene, proxy) = (Scene::new(), Proxy::connect());
    let other = scene.home.write("other.pem", Authority::new().pem());
    let variables = [("HTTPS_PROXY", &*proxy.host())];
    scene.home.pullet(&["pull", "--ca-file", &other, &scene.name]).envs(&variables).run().exits(7).fails_in_one_line();
    assert!(scene.registry.log().is_empty());
}

#[test]
fn hosts_in_no_proxy_bypass_the_proxy() {
    for entry in ["*", "registry.example", "example", ".example", "*.example", "a.io, REGISTRY.example ,b.io"] {
        let (scene, proxy) = (Scene::new(), Proxy::connect());
        scene.pull_resolving(&[("HTTPS_PROXY", &proxy.host()), ("NO_PROXY", entry)]).exits_in(entry, 0);
        assert_eq!(proxy.log().len(), 0, "{entry}");
    }
    for entry in ["", "registry", "gistry.example", ".registry.example", "registry.example:1", "10.0.0.0/8", ","] {
        let (scene, proxy) = (Scene::new(), Proxy::connect());
        scene.pull(&[("HTTPS_PROXY", &proxy.host()), ("no_proxy", entry)]).exits_in(entry, 0);
        assert_eq!(proxy.log().len(), 1, "{entry}");
    }
}

#[test]
fn loopback_and_the_proxy_of_the_other_scheme_are_ignored() {
    let (bench, proxy) = (Bench::new(), Proxy::connect());
    let name = Image::small("proxy").push(&bench.registry, "app", "latest");
    for variable in ["HTTP_PROXY", "ALL_PROXY"] {
        let localhost = name.replace("127.0.0.1", "localhost");
        for name in [&name, &localhost] {
            bench.home.pullet(&["pull", name]).envs(&[(variable, &proxy.host())]).run().exits_in(variable, 0);
        }
        // A malformed value does not matter when no proxy is needed.
        bench.home.pullet(&["pull", &name]).envs(&[(variable, "ftp://")]).run().exits_in(variable, 0);
    }
    assert_eq!(proxy.log().len(), 0);
    let scene = Scene::new();
    scene.pull_resolving(&[("HTTP_PROXY", &proxy.host())]).exits(0);
    assert_eq!(proxy.log().len(), 0);
}

#[test]
fn plain_http_goes_through_connect_too() {
    let (bench, proxy, secure) = (Bench::new(), Proxy::connect(), Proxy::connect());
    Image::small("proxy").push(&bench.registry, "app", "latest");
    let host = format!("registry.example:{}", bench.registry.port());
    let args = ["pull", "-v", "--insecure-registry", &host, &format!("{host}/app")];
    let both = [("HTTP_PROXY", &*proxy.host()), ("HTTPS_PROXY", &*secure.host())];
    bench.home.pullet(&args).envs(&both).run().exits(0);
    assert_eq!(
        (secure.log(), proxy.log()),
        (vec![host.clone()], vec![host.clone()]),
        "each scheme must use its own proxy"
    );
    // In a CGI program the client of the web server controls HTTP_PROXY.
    let cgi = [("HTTP_PROXY", &*proxy.host()), ("REQUEST_METHOD", "GET")];
    bench.home.pullet(&args).with_etc(&bench.home.etc(&[])).envs(&cgi).run().exits(0);
    assert_eq!(proxy.log().len(), 1);
}

#[test]
fn refuses_a_malformed_proxy_and_names_the_variable() {
    for value in [
        "ftp://u:s3cret@proxy",
        "http://u:s3cret@",
        "http://u:s3cret@proxy:99999",
        "http://u:s3cret@pro xy",
        "http://u:s3cret%zz@proxy",
        "http://u:s3cret\u{1b}[31m@proxy:x",
    ] {
        let scene = Scene::new();
        let outcome = scene.pull(&[("HTTPS_PROXY", value)]).exits_in(value, 2).fails_in_one_line();
        outcome.says("$HTTPS_PROXY").hides("s3cret").hides("\u{1b}");
        assert_eq!(scene.registry.connections(), 0, "{value}");
    }
}

#[test]
fn json_progress_names_the_proxy() {
    let (scene, proxy) = (Scene::new(), Proxy::connect());
    let url = format!("http://u:s3cret@{}", proxy.host());
    let args = ["pull", "-v", "--progress", "json", "--ca-file", &scene.ca, &scene.name];
    let outcome = scene.home.pullet(&args).env("HTTPS_PROXY", &url).run().exits(0).hides("s3cret");
    let is_configured = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        object["event"] == "configured" && object["what"] == format!("proxy http://{}", proxy.host())
    };
    assert_eq!(outcome.stderr.lines().filter(|line| is_configured(line)).count(), 1, "{outcome}");
    // Without -v it is not reported.
    let outcome = scene.home.pullet(&[&args[..1], &args[2..]].concat()).env("HTTPS_PROXY", &url).run().exits(0);
    assert!(!outcome.stderr.contains("configured"), "{outcome}");
}

#[test]
fn uses_socks_proxies_when_built_with_socks() {
    let (scene, proxy) = (Scene::new(), Proxy::socks(Some("me:s3cret")));
    for scheme in ["socks5", "socks5h"] {
        let url = format!("{scheme}://me:s3cret@{}", proxy.host());
        let outcome = scene.pull(&[("ALL_PROXY", &url)]).hides("s3cret");
        if cfg!(feature = "socks") {
            outcome.exits_in(scheme, 0);
        } else {
            outcome.exits_in(scheme, 10).fails_in_one_line().says("SOCKS");
        }
    }
    let expected = if cfg!(feature = "socks") { 2 } else { 0 };
    assert_eq!(proxy.log(), vec![format!("registry.example:{}", scene.registry.port()); expected]);
    let wrong = scene.pull(&[("ALL_PROXY", &format!("socks5://me:0ther@{}", proxy.host()))]).hides("0ther");
    assert_ne!(wrong.code, 0, "{wrong}");
    let anonymous = Proxy::socks(None);
    let outcome = scene.pull(&[("ALL_PROXY", &format!("socks5://{}", anonymous.host()))]);
    assert_eq!(outcome.code == 0, cfg!(feature = "socks"), "{outcome}");
}
