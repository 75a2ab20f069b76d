//! Debian's docker-registry behind nginx with TLS and htpasswd, and with its blobs at another origin that refuses `Authorization`, as
//! with Harbor and S3: a bucket responds 400 to a signed URL with that header.

use super::images::{self, Pushed};
use super::{expected, unpacked};
use kit::authority::Authority;
use kit::debian::{Registry, Server, free_port};
use kit::home::Home;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const USER: &str = "robot:s3cret";

/// nginx in front of a registry, and as a bucket next to it.
struct Front {
    home: Home,
    image: Pushed,
    access: PathBuf,
    _registry: Registry,
    _nginx: Server,
}

impl Front {
    /// Serves the blobs of the real registry. With `is_redirecting` the registry redirects requests for blobs to the bucket.
    fn start(name: &'static str, is_redirecting: bool) -> Front {
        let pushed = images::small(&format!("behind/{name}:latest"));
        let (folder, home, authority) = (images::folder(name), Home::new(), Authority::new());
        let blobs = images::blobs();
        let leaf = authority.issue(&["127.0.0.1"]);
        home.write("ca.pem", authority.pem());
        fs::write(folder.join("pem"), leaf.certificate + &leaf.key).unwrap();
        fs::write(folder.join("htpasswd"), USER.replacen(':', ":{PLAIN}", 1)).unwrap();
        let bucket = free_port();
        let more = format!(
            "middleware:\n  storage:\n    - name: redirect\n      options: {{baseurl: \"https://127.0.0.1:{bucket}\"}}\n"
        );
        let registry = Registry::start_with(&folder.join("registry"), &blobs, if is_redirecting { &more } else { "" });
        let (nginx, port) = Server::start("nginx", &folder, |port, file| {
            fs::write(file, configuration(&folder, &registry.host, port, (bucket, &blobs))).unwrap();
            ["-p", folder.to_str().unwrap(), "-c", file.to_str().unwrap()].map(str::to_owned).to_vec()
        });
        let name = format!("127.0.0.1:{port}/behind/{name}:latest");
        let image = pushed.renamed(name);
        Front { home, image, access: folder.join("access"), _registry: registry, _nginx: nginx }
    }

    /// The requests to both servers, one a line: port, target, status, and `with` or `without` Authorization.
    fn requests(&self) -> Vec<String> {
        fs::read_to_string(&self.access).unwrap().lines().map(str::to_owned).collect()
    }
}

/// The configuration of nginx. It sets the temporary folders, because the defaults belong to the nginx of the machine.
fn configuration(folder: &Path, registry: &str, port: u16, (bucket, blobs): (u16, &Path)) -> String {
    let folder = folder.display();
    let mut text =
        format!("daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{kind}_temp_path {folder}/{kind};").unwrap();
    }
    writeln!(text, "map $http_authorization $has {{ '' without; default with; }}").unwrap();
    writeln!(
        text,
        "log_format requests '$server_port $request_uri $status $has'; access_log {folder}/access requests;"
    )
    .unwrap();
    writeln!(text, "ssl_certificate {folder}/pem; ssl_certificate_key {folder}/pem;").unwrap();
    writeln!(text, "server {{ listen 127.0.0.1:{port} ssl; location /v2/ {{").unwrap();
    writeln!(text, "auth_basic registry; auth_basic_user_file {folder}/htpasswd;").unwrap();
    writeln!(text, "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;").unwrap();
    writeln!(text, "proxy_pass http://{registry}; }} }}").unwrap();
    writeln!(text, "server {{ listen 127.0.0.1:{bucket} ssl; location / {{").unwrap();
    writeln!(text, "if ($http_authorization) {{ return 400; }}\nroot {}; }} }} }}", blobs.display()).unwrap();
    text
}

#[test]
fn pulls_through_nginx_with_tls_and_htpasswd() {
    let front = Front::start("htpasswd", false);
    let (home, name) = (&front.home, &front.image.name);
    let pull = ["pull", "-q", "--ca-file", &home.arg("ca.pem"), name];
    home.run(&["pull", "-q", name]).exits(7).fails_in_one_line();
    home.run(&pull).exits(4).fails_in_one_line();
    home.run(&[&pull[..], &["--creds", "robot:wrong"]].concat()).exits(4).fails_in_one_line().hides("wrong");
    assert!(!home.store().exists(), "a failed pull left a store");
    let host = name.split('/').next().unwrap();
    home.pullet(&["login", "--ca-file", &home.arg("ca.pem"), "-u", "robot", "--password-stdin", host])
        .stdin(b"s3cret")
        .run()
        .exits(0);
    home.run(&pull).exits(0);
    expected(&front.image).assert_same(&unpacked(home, &front.image), "behind nginx");
}

#[test]
fn sends_no_authorization_to_a_bucket() {
    let front = Front::start("bucket", true);
    let (home, name) = (&front.home, &front.image.name);
    home.run(&["pull", "-q", "--ca-file", &home.arg("ca.pem"), "--creds", USER, name]).exits(0);
    expected(&front.image).assert_same(&unpacked(home, &front.image), "from the bucket");
    let requests = front.requests();
    let fetched: Vec<&String> = requests.iter().filter(|line| line.contains(" /docker/")).collect();
    assert_eq!(fetched.len(), front.image.layers() + 1, "config and layers must come from the bucket\n{requests:#?}");
    assert!(fetched.iter().all(|line| line.ends_with(" 200 without")), "{requests:#?}");
    assert_eq!(requests.iter().filter(|line| line.ends_with(" 307 with")).count(), fetched.len(), "{requests:#?}");
}
