//! Retries and resuming: a transient failure is retried and a download continues where it stopped, a permanent failure is
//! not retried, and every retry is reported.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use kit::archive::file;
use kit::bench::Bench;
use kit::fault::{Fault, on};
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::process::Finished;
use kit::registry::Registry;

const SIZE: usize = 600_000;

/// An image of one incompressible layer, so that its blob is large enough to cut.
fn image() -> Image {
    Image::new(vec![Layer::of(&[file("noise", noise(SIZE))])])
}

struct Case {
    bench: Bench,
    image: Image,
    name: String,
    layer: String,
    size: usize,
}

impl Case {
    fn new() -> Case {
        let (bench, image) = (Bench::new(), image());
        let name = image.push(&bench.registry, "app", "latest");
        let (layer, size) = (image.layers[0].digest(), image.layers[0].blob.len());
        Case { bench, image, name, layer, size }
    }

    fn fault(self, fault: impl FnOnce(&Case) -> Fault) -> Case {
        self.bench.registry.fault(fault(&self));
        self
    }

    fn pull(&self, options: &[&str]) -> Finished {
        self.bench.home.run(&[&["pull"], options, &[&self.name]].concat())
    }

    /// Status and range of each request for the layer.
    fn layer_requests(&self) -> Vec<(u16, Option<String>)> {
        let calls = self.bench.registry.calls().into_iter().filter(|call| call.request.target.contains(&self.layer));
        calls.map(|call| (call.status, call.request.header("range").map(str::to_string))).collect()
    }

    fn rest(&self, from: usize) -> Option<String> {
        Some(format!("bytes={from}-{}", self.size - 1))
    }

    #[track_caller]
    fn assert_whole(&self, case: &str) {
        assert_eq!(fs::read(self.bench.home.blob(&self.layer)).unwrap(), self.image.layers[0].blob, "{case}");
        let left: Vec<_> = fs::read_dir(self.bench.home.store().join("ingest")).unwrap().collect();
        assert!(left.is_empty(), "{case}: {left:?}");
    }

    fn partial(&self) -> std::path::PathBuf {
        self.bench.home.store().join("ingest").join(format!("{}.partial", self.layer.replace(':', "-")))
    }
}

#[test]
fn resumes_a_cut_body_at_its_offset() {
    let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000));
    case.pull(&["--retries", "1"]).exits(0);
    assert_eq!(case.layer_requests(), [(200, None), (206, case.rest(200_000))]);
    case.assert_whole("cut once");
}

#[test]
fn progress_resets_the_count_of_retries() {
    let case = Case::new().fault(|case| on(&case.layer).cut(150_000));
    case.pull(&["--retries", "1"]).exits(0);
    assert_eq!(case.layer_requests().len(), case.size.div_ceil(150_000));
    case.assert_whole("cut always");

    let case = Case::new().fault(|case| on(&case.layer).cut(1));
    case.pull(&["--retries", "2"]).exits(5);
    assert_eq!(case.layer_requests().len(), 3, "one byte an attempt does not count as progress");
}

#[test]
fn restarts_the_body_when_the_server_cannot_resume_it() {
    type Second = fn(&Case) -> Fault;
    let cases: [(&str, Second, usize); 5] = [
        ("the range ignored", |case| on(&case.layer).nth(2).status(200).body(case.image.layers[0].blob.clone()), 2),
        ("416", |case| on(&case.layer).nth(2).status(416).body(""), 3),
        ("400", |case| on(&case.layer).nth(2).status(400).body(""), 3),
        (
            "another range",
            |case| on(&case.layer).nth(2).without("Content-Range").header("Content-Range", "bytes 0-1/9"),
            3,
        ),
        ("no range named", |case| on(&case.layer).nth(2).without("Content-Range"), 3),
    ];
    for (name, second, requests) in cases {
        let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000)).fault(second);
        case.pull(&["--retries", "1"]).exits_in(name, 0);
        assert_eq!(case.layer_requests().len(), requests, "{name}");
        case.assert_whole(name);
    }
}

#[test]
fn a_whole_body_that_differs_from_the_partial_file_starts_over_once() {
    let case = Case::new()
        .fault(|case| on(&case.layer).nth(1).flip(7).cut(200_000))
        .fault(|case| on(&case.layer).nth(2).status(200).body(case.image.layers[0].blob.clone()));
    case.pull(&["--retries", "1"]).exits(0).says("starting over");
    case.assert_whole("wrong bytes before the cut");

    let case = Case::new().fault(|case| on(&case.layer).flip(7));
    case.pull(&["--retries", "5"]).exits(8);
    assert_eq!(case.layer_requests().len(), 2, "a wrong blob is requested once more");
    assert!(!case.partial().exists());
}

#[test]
fn requests_the_whole_blob_once_when_the_server_refuses_ranges() {
    for status in [401, 403, 404, 405, 416, 500, 501, 503] {
        let name = format!("{status} in the same run");
        let refuse = move |case: &Case| on(&case.layer).ranged().status(status).body("");
        let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000)).fault(refuse);
        case.pull(&["--retries", "1"]).exits_in(&name, 0);
        case.assert_whole(&name);

        // The partial download of an earlier run must not make the blob unavailable.
        let name = format!("{status} in the next run");
        let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000)).fault(refuse);
        case.pull(&["--retries", "0"]).exits_in(&name, 5);
        assert!(case.partial().exists(), "{name}");
        case.pull(&["--retries", "0"]).exits_in(&name, 0);
        case.assert_whole(&name);
    }
}

#[test]
fn the_exit_code_does_not_depend_on_a_partial_download() {
    for (status, code) in [(403, 4), (404, 3), (500, 5)] {
        let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000));
        case.pull(&["--retries", "0"]).exits(5);
        let case = case.fault(|case| on(&case.layer).status(status).body(""));
        case.pull(&["--retries", "0"]).exits_in(&status.to_string(), code);
    }
}

#[test]
fn the_next_run_resumes_the_partial_file() {
    let case = Case::new().fault(|case| on(&case.layer).nth(1).cut(200_000));
    case.pull(&[]).exits(5);
    assert_eq!(fs::metadata(case.partial()).unwrap().len(), 200_000);
    case.pull(&[]).exits(0);
    assert_eq!(case.layer_requests(), [(200, None), (206, case.rest(200_000))]);
    case.assert_whole("after a failed run");
}

#[test]
fn recovers_from_a_broken_partial_file() {
    let blob = |case: &Case| case.image.layers[0].blob.clone();
    type Leave = fn(Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Leave, usize); 5] = [
        ("empty", |_| Vec::new(), 1),
        ("too long", |blob| [blob, vec![0; 10]].concat(), 1),
        ("whole", |blob| blob, 0),
        ("zeros", |blob| vec![0; blob.len() / 2], 2),
        ("of the right size, but wrong", |blob| vec![0; blob.len()], 1),
    ];
    for (name, left, requests) in cases {
        let case = Case::new();
        fs::create_dir_all(case.partial().parent().unwrap()).unwrap();
        fs::write(case.partial(), left(blob(&case))).unwrap();
        case.pull(&[]).exits_in(name, 0);
        assert_eq!(case.layer_requests().len(), requests, "{name}");
        case.assert_whole(name);
    }
}

#[test]
fn range_requests_follow_redirects() {
    let case = Case::new();
    let other = Registry::plain();
    other.put_blob("cdn", &case.image.layers[0].blob);
    other.fault(on(&case.layer).nth(1).cut(200_000));
    let location = other.url(&format!("/v2/cdn/blobs/{}", case.layer));
    case.bench.registry.fault(on(&case.layer).redirect(307, location));
    case.pull(&["--retries", "1"]).exits(0);
    let ranges: Vec<_> = other.calls().iter().map(|call| call.request.header("range").map(str::to_string)).collect();
    assert_eq!(ranges, [None, case.rest(200_000)]);
    case.assert_whole("redirected");
}

#[test]
fn retries_transient_statuses_of_manifest_config_and_layer() {
    for status in [408, 429, 500, 502, 503, 504] {
        for path in ["manifests", "config", "layer"] {
            let case = Case::new();
            let target = match path {
                "config" => case.image.config_digest(),
                "layer" => case.layer.clone(),
                other => other.to_string(),
            };
            case.bench.registry.fault(on(target).nth(1).status(status).body("").header("Retry-After", "0"));
            case.pull(&["--retries", "1"])
                .exits_in(&format!("{status} on {path}"), 0)
                .says("retrying in 0.0 s (1 of 1)");
        }
    }
}

#[test]
fn does_not_retry_permanent_failures() {
    for (status, code) in [(401, 4), (403, 4), (404, 3), (418, 10)] {
        let case = Case::new().fault(|_| on("manifests").status(status).body(""));
        case.pull(&["--retries", "5"]).exits_in(&status.to_string(), code);
        assert_eq!(case.bench.registry.requests_to("manifests"), 1, "{status}");
    }
}

#[test]
fn gives_up_when_retry_after_is_too_long() {
    let case = Case::new().fault(|_| on("manifests").status(429).body("").header("Retry-After", "3600"));
    case.pull(&["--retries", "5"]).exits(6).says("try again after 3600 s");
    assert_eq!(case.bench.registry.requests_to("manifests"), 1);
}

#[test]
fn reports_every_retry_and_keeps_to_their_number() {
    let broken =
        |case: &Case| case.bench.registry.fault(on("manifests").status(503).body("").header("Retry-After", "0"));
    let case = Case::new();
    broken(&case);
    let outcome = case.pull(&["--retries", "3"]).exits(5);
    assert_eq!(outcome.stderr.matches("retrying in").count(), 3, "{}", outcome.stderr);
    assert_eq!(case.bench.registry.requests_to("manifests"), 4);

    let case = Case::new();
    broken(&case);
    let outcome = case.pull(&["--retries", "2", "--progress", "json"]).exits(5);
    let events: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let retries: Vec<&Value> = events.iter().filter(|event| event["event"] == "retry").collect();
    assert_eq!(retries.len(), 2);
    assert_eq!((&retries[1]["attempt"], &retries[1]["retries"]), (&Value::from(2), &Value::from(2)));
}

/// Starts a server that answers each request with these bytes and then stays silent until the client disconnects.
fn start_silent(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let _ = (&stream).write_all(answer.as_bytes());
            let _ = reader.read(&mut [0]);
        }
    });
    address
}

#[test]
fn a_silent_server_runs_into_a_timeout() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{";
    for (case, answer, options, text) in [
        ("no answer", "", ["--stall-timeout", "1"], "stalled"),
        ("half an answer", "HTTP/1.1 200 OK\r\nX-", ["--stall-timeout", "1"], "stalled"),
        ("half a body", part, ["--stall-timeout", "1"], "stalled"),
        ("no answer, with a total limit", "", ["--timeout", "1"], "out of time"),
        ("half a body, with a total limit", part, ["--timeout", "1"], "out of time"),
    ] {
        let name = format!("{}/app", start_silent(answer));
        let bench = Bench::new();
        let args = [&["pull"], &options[..], &[&name]].concat();
        // The hint names the option that sets the limit.
        bench.home.run(&args).exits_in(case, 5).says(text).says(&format!("hint: {} ", options[0]));
    }
}

#[test]
fn a_rate_limit_does_not_change_the_content() {
    let case = Case::new();
    case.pull(&["--limit-rate", "4m"]).exits(0);
    case.assert_whole("limited");
    for (option, bad) in [
        ("--limit-rate", "fast"),
        ("--limit-rate", "0"),
        ("--timeout", "0"),
        ("--stall-timeout", "x"),
        ("--retries", "-1"),
    ] {
        case.pull(&["--retries", "0", &format!("{option}={bad}")]).exits_in(option, 2);
    }
}

#[test]
fn a_server_that_lies_about_ranges_fails_after_one_restart() {
    let case = Case::new()
        .fault(|case| on(&case.layer).nth(1).cut(200_000))
        .fault(|case| on(&case.layer).nth(2).flip(7))
        .fault(|case| on(&case.layer).nth(3).cut(200_000))
        .fault(|case| on(&case.layer).after(3).flip(7));
    case.pull(&["--retries", "2"]).exits(8);
    assert_eq!(case.layer_requests().len(), 4, "it must start over once and then fail");
}

#[test]
fn does_not_wait_past_the_deadline() {
    let case = Case::new().fault(|_| on("manifests").status(429).body("").header("Retry-After", "30"));
    case.pull(&["--retries", "5", "--timeout", "20"]).exits(6).says("try again after 30 s");
    assert_eq!(case.bench.registry.requests_to("manifests"), 1);
}
