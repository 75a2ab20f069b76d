//! HTTP responses that contradict themselves or have an unexpected encoding, and their valid counterparts.

use crate::documents::image;
use kit::bench::Bench;
use kit::fault::{Fault, on};
use kit::image::OCI_MANIFEST;

#[test]
fn rejects_contradictory_http_responses() {
    let body = String::from_utf8(image().manifest_bytes()).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\n");
    let length = body.len();
    let raw = |headers: &str, body: &str| on("/manifests/").raw(format!("{head}{headers}\r\n{body}"));
    let cases: Vec<(&str, Fault)> = vec![
        ("a negative length", on("/manifests/").length("-1")),
        ("a length that is not a number", on("/manifests/").length("many")),
        ("a length that overflows", on("/manifests/").length("99999999999999999999999")),
        ("a signed length", on("/manifests/").length(format!("+{length}"))),
        ("two lengths", raw(&format!("Content-Length: {length}\r\nContent-Length: 1\r\n"), &body)),
        ("two lengths in one", on("/manifests/").length(format!("{length}, 1"))),
        (
            "a length and chunks",
            raw(
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                &format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            ),
        ),
        ("a length beyond the body", on("/manifests/").length((length + 1).to_string())),
        ("a closed connection", on("/manifests/").cut(10)),
        ("an encoding that was not requested", on("/manifests/").gzip()),
        ("truncated chunks", on("/manifests/").chunks(b"5\r\n{\"sch")),
        ("a chunk without a valid size", on("/manifests/").chunks(b"zz\r\n{}\r\n0\r\n\r\n")),
        ("a chunk of a negative size", on("/manifests/").chunks(b"-2\r\n{}\r\n0\r\n\r\n")),
        ("a huge chunk", on("/manifests/").chunks(b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("a chunk without a line end", on("/manifests/").chunks(b"2\r\n{}xx0\r\n\r\n")),
        ("a flood of headers", on("/manifests/").header_flood()),
        ("an endless header", raw(&format!("X: {}", "x".repeat(1 << 20)), "")),
        ("not HTTP", on("/manifests/").raw("SSH-2.0-OpenSSH_9.2\r\n")),
        ("an empty response", on("/manifests/").raw("")),
        ("truncated headers", on("/manifests/").raw(head.as_str())),
        ("HTTP/9", on("/manifests/").raw("HTTP/9.9 200 OK\r\n\r\n")),
        ("no status", on("/manifests/").raw("HTTP/1.1 OK\r\n\r\n")),
        ("status 999999", on("/manifests/").raw("HTTP/1.1 999999 OK\r\n\r\n")),
        ("endless 1xx responses", on("/manifests/").raw("HTTP/1.1 100 Continue\r\n\r\n".repeat(5000))),
    ];
    for (case, fault) in cases {
        let (bench, image) = (Bench::new(), image());
        bench.registry.fault(fault);
        bench.pull(&image).exits_among(case, &[5, 11]).fails_in_one_line();
        bench.assert_no_layer_requested(case, &image);
    }
    // Valid chunks, and a body that ends with the connection, are accepted.
    for (case, fault) in [("chunks", on("/v2/").chunked(7)), ("no length", on("/v2/").closed())] {
        let bench = Bench::new();
        bench.registry.fault(fault);
        bench.pull(&image()).exits_in(case, 0);
    }
}

#[test]
fn a_content_encoding_that_is_not_a_coding_is_ignored() {
    for encoding in ["", " ", "identity", "Identity", "utf-8", "none", "identity, ,binary"] {
        let bench = Bench::new();
        bench.registry.fault(on("/v2/").header("Content-Encoding", encoding));
        bench.pull(&image()).exits_in(encoding, 0);
    }
    for encoding in ["gzip", "GZip", "x-gzip", "br", "zstd", "deflate", "identity, gzip", ", gzip"] {
        for path in ["/manifests/", "/blobs/"] {
            let bench = Bench::new();
            bench.registry.fault(on(path).header("Content-Encoding", encoding));
            let name = image().push(&bench.registry, "app", "latest");
            let outcome = bench.home.run(&["pull", "--retries", "0", &name]).exits_in(encoding, 5);
            outcome.says("unexpected content encoding").fails_in_one_line();
        }
    }
    let bench = Bench::new();
    bench.registry.fault(on("/blobs/").header("Content-Encoding", "identity").header("Content-Encoding", "gzip"));
    let name = image().push(&bench.registry, "app", "latest");
    bench.home.run(&["pull", "--retries", "0", &name]).exits(5).says("unexpected content encoding");
}
