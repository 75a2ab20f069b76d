//! The first contact with what is no registry, or a bad one. A loopback registry is asked over plain HTTP first and over
//! HTTPS then: what goes wrong in the first must not be told as a fault of the second.

use kit::canned::{CannedServer, Close};
use kit::home::Home;

#[test]
fn what_answers_and_is_no_registry_is_not_called_a_fault_of_tls() {
    let flood: String = (0..1200).map(|n| format!("X-Flood-{n}: {}\r\n", "x".repeat(1000))).collect();
    let (length, chunked) = ("Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n");
    let ok = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let cases: &[(&str, String, i32)] = &[
        ("nothing at all", String::new(), 5),
        ("half a status line", "HTTP/1.".to_string(), 5),
        ("half a header", "HTTP/1.1 200 OK\r\nContent-Ty".to_string(), 5),
        ("a header without its end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n".to_string(), 5),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".to_string(), 5),
        ("a header flood", ok(&format!("{flood}{length}"), "{}"), 11),
        ("a length and chunks", ok(&format!("{length}{chunked}"), chunks), 5),
        ("chunks and a length", ok(&format!("{chunked}{length}"), chunks), 5),
        ("a server in trouble", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_string(), 5),
        ("a refusal of everything", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_string(), 10),
    ];
    for (case, saying, code) in cases {
        for close in [Close::Gracefully, Close::Abruptly] {
            let (server, home) = (CannedServer::new(saying.as_str(), close), Home::new());
            // A reset may overtake the bytes that were sent before it.
            let codes = if matches!(close, Close::Abruptly) { vec![5, *code] } else { vec![*code] };
            let case = format!("{case}, {close:?}");
            let outcome = home.run(&["pull", &server.name("app")]).exits_among(&case, &codes).fails_in_one_line();
            assert!(home.index().is_empty(), "{case}\n{outcome}");
        }
    }
}
