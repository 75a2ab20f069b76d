//! Response headers that are odd: accepted if they decide nothing, refused if they decide where a body ends or where a
//! request goes.

use kit::authority::Authority;
use kit::bench::Bench;
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, OCI_MANIFEST};
use kit::registry::Registry;

const ODD: [&str; 7] =
    ["299 - \"a\u{1}b\"", "\0", "\u{7f}", "a\rb", "a\r\n\tfolded\r\n  twice", "caf\u{e9} \u{1f40b}", "\u{1b}[2J"];

#[test]
fn odd_bytes_in_a_header_that_decides_nothing_do_not_end_a_pull() {
    for value in ODD {
        let (bench, image) = (Bench::new(), Image::small("odd"));
        bench.registry.bearer("t0ken", None);
        bench.registry.fault(on("/").header("Warning", value).header("X-Other", value));
        bench.pull(&image).exits_in(value, 0).hides("\u{1b}");
        assert_eq!(bench.registry.connections(), 1, "{value:?}");
        assert_eq!(bench.registry.log().len(), 5, "{value:?}: {:?}", bench.registry.log());
    }
    // Over TLS, and in the bytes of Latin-1.
    let (authority, home, image) = (Authority::new(), Home::new(), Image::small("odd"));
    let registry = Registry::tls(&authority);
    let name = image.push(&registry, "app", "latest");
    let ca = home.write("ca.pem", authority.pem());
    registry.fault(on("/").header("Warning", ODD[0]));
    let body = image.manifest_bytes();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n", body.len());
    let raw = [head.as_bytes(), b"X: caf\xe9\x01\r\n\r\n", &body].concat();
    registry.fault(on("/manifests/").raw(raw));
    home.run(&["pull", "--ca-file", &ca, &name]).exits(0);
}

#[test]
fn odd_bytes_in_a_header_that_decides_something_are_refused() {
    for (name, value) in [
        ("Transfer-Encoding", "chunked\u{1}"),
        ("Transfer-Encoding", "\u{b}chunked"),
        ("Content-Length", "1\r\n 0"),
        ("Content-Length", "1\u{1}"),
        ("Content-Encoding", "gzip\u{1}"),
        ("Location", "/a\u{1}b"),
        ("Connection", "close\u{1}"),
        ("Odd\u{1}Name", "x"),
        ("Content-Length ", "1"),
    ] {
        let (bench, image) = (Bench::new(), Image::small("odd"));
        let reference = image.push(&bench.registry, "app", "latest");
        bench.registry.fault(on("/manifests/").header(name, value));
        let outcome = bench.home.run(&["pull", "--retries", "0", &reference]);
        outcome.exits_among(&format!("{name}: {value:?}"), &[5, 11]).fails_in_one_line();
        bench.assert_no_layer_requested(name, &image);
    }
}
