//! `watch`: a command is run when the digest of a name changes, and a digest that has failed is left alone.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use kit::bench::Bench;
use kit::debian::{command, run};
use kit::fault::on;
use kit::image::Image;
use kit::process::{Finished, Running, Signal, is_root};

/// A name, and the images that its tag pointed to.
struct Watched {
    bench: Bench,
    name: String,
    digest: String,
}

impl Watched {
    fn new() -> Watched {
        let (bench, image) = (Bench::new(), Image::small("one"));
        let name = image.push(&bench.registry, "app", "stable");
        let digest = image.digest();
        Watched { bench, name, digest }
    }

    /// Moves the tag to another image.
    fn update(&mut self, content: &str) {
        let image = Image::small(content);
        image.push(&self.bench.registry, "app", "stable");
        self.digest = image.digest();
    }

    /// Polls once. The command writes a line to the file `runs` and then does this.
    fn once(&self, command: &str) -> Finished {
        self.bench.registry.clear_log();
        self.bench.home.run(&["watch", "--once", "--exec", &noting(command), &self.name])
    }

    /// Starts a watch that polls every second.
    fn start(&self, command: &str, options: &[&str]) -> Running {
        let command = noting(command);
        let args = ["watch", "--interval", "1s", "--exec", &command, &self.name];
        self.bench.home.pullet(&[&args, options].concat()).start()
    }

    /// The digests for which the command was run.
    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.bench.home.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// The record in the store.
    fn record(&self) -> Value {
        let folder = self.bench.home.store().join("watch");
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let record = files.find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap();
        serde_json::from_slice(&fs::read(record).unwrap()).unwrap()
    }

    fn fifo(&self, name: &str) -> String {
        let path = self.bench.home.arg(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

fn noting(command: &str) -> String {
    format!("echo $PULLET_DIGEST >> runs; {command}")
}

/// Waits until a command has written to the FIFO and closed it.
fn read_fifo(path: &str) -> String {
    let mut text = String::new();
    fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn runs_the_command_once_for_each_new_digest() {
    let mut watched = Watched::new();
    let first = watched.digest.clone();
    let show = "echo $PULLET_NAME $PULLET_IMAGE; cat";
    let repository = watched.name.rsplit_once(':').unwrap().0.to_owned();
    watched.once(show).exits(0).prints(&format!("{} {repository}@{first}\n", watched.name));
    assert_eq!(watched.bench.registry.log(), ["HEAD /v2/app/manifests/stable 200"]);
    for _ in 0..2 {
        watched.once(show).exits(0).prints("");
        assert_eq!(watched.bench.registry.log(), ["HEAD /v2/app/manifests/stable 304"]);
    }
    watched.update("two");
    watched.once(show).exits(0);
    assert_eq!(watched.runs(), [first, watched.digest.clone()]);
    assert_eq!(watched.record()["handled"], watched.digest.as_str());
    assert_eq!(watched.record()["name"], watched.name.as_str());
}

#[test]
fn a_digest_that_has_failed_is_left_alone() {
    let mut watched = Watched::new();
    watched.once("exit 1").exits(1).says("the command ended with exit status 1");
    let bad = watched.digest.clone();
    watched.once("exit 1").exits(0);
    watched.update("two");
    watched.once("true").exits(0);
    watched.update("one");
    watched.once("true").exits(0);
    assert_eq!(watched.runs().len(), 2, "{:?}", watched.runs());
    assert_eq!(watched.record()["failed"], Value::from(vec![bad]));
    // Only so many are remembered.
    for n in 0..33 {
        watched.update(&format!("bad {n}"));
        watched.once("exit 8").exits(8);
    }
    assert_eq!(watched.record()["failed"].as_array().unwrap().len(), 32);
    assert_eq!(watched.record()["failed"][31], watched.digest.as_str());
}

#[test]
fn a_failure_that_passes_is_tried_again_by_the_next_poll() {
    for status in [5, 6, 75] {
        let watched = Watched::new();
        for _ in 0..12 {
            watched.once(&format!("exit {status}")).exits(status);
        }
        watched.once("true").exits(0);
        assert_eq!(watched.runs().len(), 13, "{status}");
    }
}

#[test]
fn a_command_that_cannot_be_run_does_not_condemn_the_digest() {
    let watched = Watched::new();
    watched.once("exec /no/such/program").exits(2).says("the command cannot be run: exit status 127");
    watched.once("exit 126").exits(2).fails_in_one_line();
    watched.once("true").exits(0);
    assert_eq!(watched.runs().len(), 3);
}

#[test]
fn a_command_that_always_dies_is_given_up() {
    let watched = Watched::new();
    for _ in 0..10 {
        watched.once("kill -9 $$").exits(137);
    }
    watched.once("true").exits(0).says("the command failed");
    watched.once("true").exits(0);
    assert_eq!(watched.runs().len(), 10);
    assert_eq!(watched.record()["failed"][0], watched.digest.as_str());
}

#[test]
fn a_killed_watch_runs_the_command_again() {
    let watched = Watched::new();
    let fifo = watched.fifo("fifo");
    for starts in 1..=10 {
        // The command kills the watch.
        let running = watched.start(&format!("kill -9 $PPID; echo > {fifo}"), &[]);
        read_fifo(&fifo);
        running.wait().exits(-9);
        assert_eq!(watched.record()["starts"], starts);
        assert_eq!(watched.record()["running"], watched.digest.as_str());
    }
    watched.once("true").exits(0).says("the command failed");
    assert_eq!(watched.runs().len(), 10);
}

#[test]
fn a_signal_ends_the_watch_and_its_command() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let watched = Watched::new();
        let fifo = watched.fifo("fifo");
        for command in ["exec sleep 1000", "trap '' TERM; sleep 1000; sleep 1000"] {
            let running = watched.start(&format!("echo $$ > {fifo}; {command}"), &[]);
            let pid = read_fifo(&fifo);
            running.signal(signal);
            running.wait().exits(code);
            let is_gone = || fs::read(format!("/proc/{}/cmdline", pid.trim())).map_or(true, |line| line.is_empty());
            assert!(is_gone(), "{command}");
        }
        // An interruption is not counted.
        assert_eq!(watched.record().get("starts"), None);
        watched.once("true").exits(0);
        assert_eq!(watched.runs().len(), 3);
        watched.bench.registry.clear_log();
        let running = watched.start("true", &[]);
        watched.bench.registry.wait_for("/manifests/");
        running.signal(signal);
        running.wait().exits(code);
    }
}

#[test]
fn goes_on_after_errors_that_may_pass() {
    let mut watched = Watched::new();
    let fifo = watched.fifo("fifo");
    let faults = [
        on("/manifests/").nth(1).status(503).header("Retry-After", "1"),
        on("/manifests/").nth(2).status(404),
        on("/manifests/").nth(3).status(404),
        on("/manifests/").nth(4).raw("nonsense"),
        on("/manifests/").nth(5).status(429).header("Retry-After", "1"),
    ];
    for fault in faults {
        watched.bench.registry.fault(fault);
    }
    let running = watched.start(&format!("echo > {fifo}"), &[]);
    read_fifo(&fifo);
    watched.update("two");
    read_fifo(&fifo);
    running.signal(Signal::TERM);
    running.wait().exits(143).says("polling again in 1.").says("503").says("429").says("404");
    assert_eq!(watched.runs().len(), 2);
    // One poll only is no reason to go on.
    for (status, code) in [(503, 5), (404, 3), (429, 6)] {
        let watched = Watched::new();
        watched.bench.registry.fault(on("/manifests/").status(status));
        watched.once("true").exits(code).fails_in_one_line();
        assert_eq!(watched.runs().len(), 0);
    }
}

#[test]
fn without_head_a_poll_is_one_conditional_get() {
    let mut watched = Watched::new();
    watched.bench.registry.fault(on("/manifests/").without("Docker-Content-Digest"));
    let fifo = watched.fifo("fifo");
    let running = watched.start(&format!("echo > {fifo}"), &[]);
    read_fifo(&fifo);
    watched.update("two");
    read_fifo(&fifo);
    running.signal(Signal::TERM);
    running.wait().exits(143);
    let log = watched.bench.registry.log();
    let gets = log.iter().filter(|call| call.starts_with("GET")).count();
    assert_eq!(log.iter().filter(|call| call.starts_with("HEAD")).count(), 1, "{log:?}");
    assert!(gets >= 2 && log.last().unwrap().starts_with("GET"), "{log:?}");
}

#[test]
fn reports_events_as_json() {
    let mut watched = Watched::new();
    let once = |watched: &Watched, command: &str| {
        let args = ["watch", "--once", "--progress", "json", "--exec", command, &watched.name];
        let run = watched.bench.home.run(&args);
        let events = run.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events: Vec<Value> = events.collect();
        let words = events.iter().filter(|event| event["event"] == "watch").inspect(|event| {
            assert_eq!(event["digest"], watched.digest.as_str());
        });
        let words: Vec<String> = words.map(|event| event["state"].as_str().unwrap().to_owned()).collect();
        let end = events.last().unwrap();
        (words.join(" "), end["code"].as_u64().unwrap(), end["word"].as_str().unwrap().to_owned())
    };
    assert_eq!(once(&watched, "exit 75"), ("changed postponed".into(), 75, "command".into()));
    assert_eq!(once(&watched, "true"), ("changed handled".into(), 0, "ok".into()));
    assert_eq!(once(&watched, "true"), ("unchanged".into(), 0, "ok".into()));
    watched.update("two");
    assert_eq!(once(&watched, "false"), ("changed failed".into(), 1, "command".into()));
    assert_eq!(once(&watched, "false"), ("skipped".into(), 0, "ok".into()));
}

#[test]
fn the_record_is_for_one_name_and_one_process() {
    let watched = Watched::new();
    let (home, name) = (&watched.bench.home, watched.name.as_str());
    let watch = |name: &str| home.run(&["watch", "--once", "--state", "s.json", "--exec", "true", name]);
    watch(name).exits(0);
    assert!(!home.store().exists() && home.path("s.json").exists());
    let other = name.replace(":stable", ":edge");
    watch(&other).exits(2).says("is the record of a watch of");
    for damaged in ["", "{", "[]", "{\"name\":7}"] {
        home.write("s.json", damaged);
        watch(name).exits(0).says("is damaged").says("the command succeeded");
    }
    let fifo = watched.fifo("fifo");
    let running = watched.start(&format!("echo > {fifo}; exec sleep 1000"), &["--state", "t.json"]);
    read_fifo(&fifo);
    home.run(&["watch", "--once", "--state", "t.json", "--exec", "true", name]).exits(9).says("another process");
    running.signal(Signal::TERM);
    running.wait().exits(143);
    home.run(&["watch", "--once", "--state", "no/s.json", "--exec", "true", name]).exits(9).fails_in_one_line();
}

#[test]
fn refuses_what_it_would_ignore() {
    let watched = Watched::new();
    let name = watched.name.as_str();
    let pinned = format!("{name}@{}", watched.digest);
    for args in [
        &["watch", name][..],
        &["watch", "--exec", "true"],
        &["watch", "--exec", "true", &pinned],
        &["watch", "--exec", "true", "--platform", "linux/arm", name],
        &["watch", "--exec", "true", "--interval", "0", name],
        &["watch", "--exec", "true", "--store", "s", "--state", "f", name],
    ] {
        watched.bench.home.run(args).exits(2).fails_in_one_line();
    }
    assert!(watched.bench.registry.log().is_empty() && !Path::new("s").exists());
}

/// Another user could suppress an update with a record that says that it is done.
#[test]
fn refuses_what_another_user_can_write() {
    let watched = Watched::new();
    let (home, name) = (&watched.bench.home, watched.name.as_str());
    let watch = |args: &[&str]| home.run(&[&["watch", "--once", "--exec", "true"], args, &[name]].concat());
    let text = format!(r#"{{"name":"{name}","handled":"{}","failed":[]}}"#, watched.digest);
    let file = home.write("s.json", text);
    watch(&["--state", &file]).exits(0).hides("succeeded");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    watch(&["--state", &file]).exits(9).says("other users can write to it").fails_in_one_line();
    if is_root() {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        chown(&file, Some(12345), None).unwrap();
        watch(&["--state", &file]).exits(9).says("it belongs to another user (UID 12345)");
        watch(&[]).exits(0);
        chown(home.store().join("watch"), Some(12345), None).unwrap();
        watch(&[]).exits(9).says("it belongs to another user (UID 12345)");
        chown(home.store().join("watch"), Some(0), None).unwrap();
        chown(home.store(), Some(12345), None).unwrap();
        watch(&[]).exits(9).says("it belongs to another user (UID 12345)");
    }
}

#[test]
fn a_record_that_is_no_file_is_refused() {
    let watched = Watched::new();
    let (home, name) = (&watched.bench.home, watched.name.as_str());
    home.write("other", "precious");
    let watch = |state: &str| home.run(&["watch", "--once", "--exec", "true", "--state", state, name]);
    for (record, place) in [("a", "a"), ("b", "b.lock")] {
        symlink("other", home.path(place)).unwrap();
        watch(record).exits(9).fails_in_one_line();
        fs::remove_file(home.path(place)).unwrap();
        run(command("mkfifo").arg(home.path(place))).expect(0);
        watch(record).exits(9).says("not a regular file").fails_in_one_line();
        fs::remove_file(home.path(place)).unwrap();
        fs::create_dir(home.path(place)).unwrap();
        watch(record).exits(9).fails_in_one_line();
    }
    // What is left of a record that was being written is replaced, and a link there is not followed.
    symlink("other", home.path("new.json.new")).unwrap();
    watch("new.json").exits(0);
    assert_eq!(fs::read_to_string(home.path("other")).unwrap(), "precious");
}
