//! The first contact with a server that is not a registry, or is a broken one. At a loopback address pullet tries plain HTTP
//! first and HTTPS next. A failure over plain HTTP must not be reported as a TLS error.

use kit::canned::{CannedServer, Close};
use kit::home::Home;

#[test]
fn an_invalid_http_response_is_not_reported_as_a_tls_error() {
    let flood: String = (0..1200).map(|n| format!("X-Flood-{n}: {}\r\n", "x".repeat(1000))).collect();
    let (length, chunked) = ("Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n");
    let ok = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let cases: &[(&str, String, i32)] = &[
        ("an empty response", String::new(), 5),
        ("half a status line", "HTTP/1.".to_string(), 5),
        ("half a header", "HTTP/1.1 200 OK\r\nContent-Ty".to_string(), 5),
        ("headers without an end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n".to_string(), 5),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".to_string(), 5),
        ("a header flood", ok(&format!("{flood}{length}"), "{}"), 11),
        ("a length and chunks", ok(&format!("{length}{chunked}"), chunks), 5),
        ("chunks and a length", ok(&format!("{chunked}{length}"), chunks), 5),
        ("status 503", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_string(), 5),
        ("status 400", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_string(), 10),
    ];
    for (case, response, code) in cases {
        for close in [Close::Gracefully, Close::Abruptly] {
            let (server, home) = (CannedServer::new(response.as_str(), close), Home::new());
            // A reset can discard bytes that were sent before it.
            let codes = if matches!(close, Close::Abruptly) { vec![5, *code] } else { vec![*code] };
            let case = format!("{case}, {close:?}");
            let outcome = home.run(&["pull", &server.name("app")]).exits_among(&case, &codes).fails_in_one_line();
            assert!(home.index().is_empty(), "{case}\n{outcome}");
        }
    }
}
