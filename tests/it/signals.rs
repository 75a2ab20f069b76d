//! SIGINT and SIGTERM end the work wherever it waits, tidied up and with their codes; and streams that are gone do no harm.
//!
//! No test asserts a time: what would go on waiting is told to wait for an hour, and the harness takes that for a hang.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::CWD;
use rustix::process::Signal;

use kit::archive::file;
use kit::authority::Authority;
use kit::bench::Bench;
use kit::debian;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer};
use kit::process::{Finished, Running, program};
use kit::proxy::Proxy;
use kit::registry::Registry;

const BOTH: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

/// Waits until something is so; what brings it about is under way.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 60, "never: {what}");
        std::thread::yield_now();
    }
}

/// Signals a run that waits, and holds its end against what is promised.
#[track_caller]
fn end(case: &str, running: Running, (signal, code): (Signal, i32)) -> Finished {
    running.signal(signal);
    running.wait().exits_in(case, code).fails_in_one_line().says("interrupted")
}

fn image() -> Image {
    Image::new(vec![Layer::plain(&kit::archive::archive(&[file("f", vec![7; 5000])]))])
}

const PATIENT: [&str; 4] = ["--stall-timeout", "3600", "--retries", "5"];

#[test]
fn a_pull_that_waits_for_the_network_ends_and_keeps_what_it_has() {
    let authority = Authority::new();
    for signal in BOTH {
        for (case, registry, proxy) in [
            ("plain", Registry::plain(), None),
            ("TLS", Registry::tls(&authority), None),
            ("a proxy", Registry::tls(&authority), Some(("http", Proxy::connect()))),
            ("SOCKS", Registry::plain(), Some(("socks5h", Proxy::socks(None)))),
        ] {
            let (home, image) = (Home::new(), image());
            let pushed = image.push(&registry, "app", "latest");
            let layer = image.layers[0].digest();
            registry.fault(on(&layer).nth(1).stall(1000));
            let ca = home.write("ca.pem", authority.pem());
            // Loopback is never asked through a proxy.
            let name = match proxy {
                None => pushed,
                Some(_) => format!("registry.example:{}/app:latest", registry.port()),
            };
            let insecure = format!("registry.example:{}", registry.port());
            let args = [&["pull"], &PATIENT[..], &["--ca-file", &ca, "--insecure-registry", &insecure, &name]].concat();
            let variables: Vec<(&str, String)> =
                proxy.iter().map(|(scheme, proxy)| ("ALL_PROXY", format!("{scheme}://{}", proxy.host()))).collect();
            let variables: Vec<(&str, &str)> = variables.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let running = home.pullet(&args).envs(&variables).start();
            let partial = home.path("store/ingest").join(format!("{}.partial", layer.replace(':', "-")));
            until("bytes in the partial file", || fs::metadata(&partial).is_ok_and(|meta| meta.len() == 1000));
            end(case, running, signal);
            assert_eq!(fs::metadata(&partial).unwrap().len(), 1000, "{case}");
            assert!(home.index().is_empty(), "{case}");
            home.pullet(&args).envs(&variables).run().exits_in(case, 0);
            let asked: Vec<_> = registry.calls().into_iter().filter(|c| c.request.target.contains(&layer)).collect();
            let size = image.layers[0].blob.len();
            assert_eq!(asked[1].request.header("range"), Some(format!("bytes=1000-{}", size - 1).as_str()), "{case}");
        }
    }
}

#[test]
fn every_other_wait_of_a_pull_ends_too() {
    let image = image();
    for signal in BOTH {
        let start = |bench: &Bench| {
            let name = image.push(&bench.registry, "app", "latest");
            bench.home.pullet(&[&["pull"], &PATIENT[..], &[&name]].concat()).start()
        };
        let bench = Bench::new();
        let latch = Latch::default();
        bench.registry.fault(on("/manifests/").held(&latch));
        let running = start(&bench);
        bench.registry.wait_for("/manifests/");
        end("no answer", running, signal);
        latch.open();

        let bench = Bench::new();
        bench.registry.fault(on("/manifests/").status(503).header("Retry-After", "59"));
        let running = start(&bench);
        bench.registry.wait_for("/manifests/");
        end("a wait before a retry", running, signal);

        for lock in ["lock", "prune.lock", &format!("ingest/{}.partial", image.layers[0].digest().replace(':', "-"))] {
            let bench = Bench::new();
            bench.pull(&Image::small("first")).exits(0);
            let held = fs::File::options().create(true).append(true).open(bench.home.store().join(lock)).unwrap();
            held.lock().unwrap();
            bench.registry.clear_log();
            let running = start(&bench);
            bench.registry.wait_for("/manifests/");
            end(lock, running, signal);
            drop(held);
            start(&bench).wait().exits_in(lock, 0);
        }
    }
}

/// A listener whose queue is full: who connects waits.
#[test]
fn a_connection_that_does_not_come_about_is_not_waited_for() {
    for signal in BOTH {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let short = std::time::Duration::from_millis(100);
        let queue: Vec<_> = std::iter::repeat_with(|| std::net::TcpStream::connect_timeout(&address, short))
            .map_while(Result::ok)
            .collect();
        let home = Home::new();
        let running = home.pullet(&[&["digest"], &PATIENT[..], &[&format!("{address}/app")]].concat()).start();
        let (port, pid) = (format!(":{:04X} 02", address.port()), running.id());
        until("a SYN", || fs::read_to_string(format!("/proc/{pid}/net/tcp")).is_ok_and(|text| text.contains(&port)));
        end("connecting", running, signal);
        drop(queue);
    }
}

#[cfg(feature = "socks")]
#[test]
fn a_socks_proxy_that_does_not_respond_is_not_waited_for() {
    for signal in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("socks5://{}", listener.local_addr().unwrap());
        let home = Home::new();
        let args = [&["digest"], &PATIENT[..], &["registry.example/app"]].concat();
        let running = home.pullet(&args).env("ALL_PROXY", &*proxy).start();
        let connection = listener.accept().unwrap();
        end("SOCKS", running, signal);
        drop(connection);
    }
}

/// `/etc/hosts` is a FIFO to which nothing is written, so that the system's lookup blocks.
#[test]
fn a_lookup_of_a_host_name_ends_too() {
    for signal in BOTH {
        let home = Home::new();
        let etc = home.etc(&[]);
        let hosts = Path::new(&etc).join("hosts");
        fs::remove_file(&hosts).unwrap();
        rustix::fs::mkfifoat(CWD, &hosts, 0o644.into()).unwrap();
        let running =
            home.pullet(&[&["digest"], &PATIENT[..], &["registry.example/app"]].concat()).with_etc(&etc).start();
        let mut waiting = None;
        until("a look at /etc/hosts", || {
            waiting = fs::File::options().write(true).custom_flags(0o4000).open(&hosts).ok();
            waiting.is_some()
        });
        end("a lookup", running, signal);
    }
}

/// Each call takes its time; the process is still the shell's.
fn slow(call: &str) -> String {
    format!("exec strace -D -qq -o /dev/null -e inject={call}:delay_enter=50000 \"$@\"")
}

#[test]
fn an_unpack_ends_without_a_trace() {
    let image = Image::new(vec![Layer::of(&[file("zeros", vec![0; 20 << 20])])]);
    for signal in BOTH {
        let bench = Bench::new();
        bench.pull(&image).exits(0);
        let args = ["unpack", "--pull", "never", &bench.registry.name("app"), &bench.home.arg("root")];
        let running = bench.home.pullet(&args).through_shell(&slow("write")).start();
        until("a file in the tree", || bench.home.path(".root.pullet/root/zeros").exists());
        end("unpack", running, signal);
        let mut left: Vec<_> =
            fs::read_dir(bench.home.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["home", "store"]);
    }
}

#[test]
fn a_verification_ends() {
    let image = Image::new(vec![Layer::plain(&kit::archive::archive(&[file("f", vec![0; 20 << 20])]))]);
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    for signal in BOTH {
        let running = bench.home.pullet(&["verify"]).through_shell(&slow("read")).start();
        let (pid, digest) = (running.id(), image.layers[0].digest().replace("sha256:", ""));
        until("the layer open", || {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.ends_with(&digest))
        });
        end("verify", running, signal);
    }
}

#[test]
fn a_credential_helper_is_not_waited_for() {
    for signal in BOTH {
        let home = Home::new();
        fs::create_dir(home.path("bin")).unwrap();
        let draft = home.write("draft", format!("#!/bin/sh\ntouch {}\nexec sleep 3600\n", home.arg("asked")));
        let program = home.arg("bin/docker-credential-slow");
        assert!(Command::new("install").args(["-m", "755", &draft, &program]).status().unwrap().success());
        let path = format!("{}:/usr/bin:/bin", home.arg("bin"));
        let authfile = home.write("auth.json", r#"{"credHelpers":{"127.0.0.1:1":"slow"}}"#);
        let variables = [("PATH", path.as_str())];
        let running = home.pullet(&["digest", "--authfile", &authfile, "127.0.0.1:1/app"]).envs(&variables).start();
        until("the program running", || home.path("asked").exists());
        end("a helper", running, signal);
    }
}

/// A FIFO where a file belongs hears no signal, and standard input has nobody else to wait for.
#[test]
fn a_second_signal_ends_at_once_and_the_first_one_a_wait_for_input() {
    let home = Home::new();
    rustix::fs::mkfifoat(CWD, home.path("fifo"), 0o600.into()).unwrap();
    let catches = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or_default();
        u64::from_str_radix(caught, 16).is_ok_and(|mask| mask & 0x4002 == 0x4002)
    };
    let running = home.pullet(&["digest", "--ca-file", "fifo", "127.0.0.1:1/app"]).start();
    until("handlers", || catches(running.id()));
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    running.wait().exits_among("twice", &[130, 143]);
    for (signal, code) in BOTH {
        let args = ["login", "-u", "robot", "--password-stdin", "127.0.0.1:1"];
        let running = home.pullet(&args).through_shell("exec \"$@\" < fifo").start();
        let _open = fs::File::options().write(true).open(home.path("fifo")).unwrap();
        until("handlers", || catches(running.id()));
        running.signal(signal);
        running.wait().exits(code);
    }
}

/// What a terminal shows of `command`, with something typed after each of the texts.
fn typed(home: &Home, command: &str, talk: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> String {
    let mut script = debian::command("script");
    script.args(["-qec", command, "/dev/null"]).env_clear().env("SHELL", "/bin/sh").env("TERM", "xterm");
    script.env("HOME", home.path("home")).env("PULLET_STORE", home.store()).env("PATH", "/usr/bin:/bin");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut screen, mut byte) = (Vec::new(), [0]);
    while shown.read(&mut byte).unwrap() == 1 {
        screen.push(byte[0]);
        if let Some(answer) = talk(&String::from_utf8_lossy(&screen)) {
            keys.write_all(&answer).unwrap();
        }
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&screen).into_owned()
}

#[test]
fn the_terminal_is_left_as_it_was() {
    // A pull: the live line is gone, and the error has a line of its own.
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[0].digest()).stall(1000));
    let command = format!("trap : INT; {} pull {name}; echo \"code $?\"", program().display());
    let mut is_typed = false;
    let screen = typed(&bench.home, &command, &mut |screen| {
        let now = screen.contains("Downloading") && !std::mem::replace(&mut is_typed, screen.contains("Downloading"));
        now.then(|| vec![3])
    });
    let end = screen.rsplit("\r\u{1b}[K").next().unwrap();
    assert!(end.starts_with("pullet: pull ") && end.ends_with("interrupted\r\ncode 130\r\n"), "{screen:?}");
    // A password: the echo is back, whether by a key or by a signal.
    for (case, code) in [("key", 130), ("TERM", 143), ("INT", 130)] {
        let login = format!("{} login -u robot {}", program().display(), bench.registry.host());
        let command = format!("sh -c 'echo \"pid $$ \"; exec {login}'; echo \"code $?\"; stty -a");
        let mut is_done = false;
        let screen = typed(&bench.home, &command, &mut |screen| {
            if is_done || !screen.ends_with("Password: ") {
                return None;
            }
            is_done = true;
            if case == "key" {
                return Some(vec![3]);
            }
            let pid = screen.split("pid ").nth(1).unwrap().split(' ').next().unwrap();
            assert!(Command::new("sh").args(["-c", "kill -s $0 $1", case, pid]).status().unwrap().success());
            None
        });
        assert!(screen.contains(&format!("interrupted\r\ncode {code}\r\n")), "{case}: {screen:?}");
        assert!(screen.contains(" echo ") && screen.contains(" icanon"), "{case}: {screen:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_fault() {
    let bench = Bench::new();
    bench.pull(&Image::small("x")).exits(0);
    for args in [&["images"][..], &["--help"], &["verify"], &["tags", &bench.registry.name("app")]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outcome = bench.home.pullet(args).stdout(writer).run();
        assert_eq!(outcome.exits(0).stderr, "", "{args:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    bench.home.pullet(&["images"]).stdout(full).run().exits(9).fails_in_one_line().says("standard output");
}

/// Nothing of the store may be opened as one of the standard streams, and be written to as such.
#[test]
fn closed_standard_streams_do_no_harm() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- 2>&-"] {
        let bench = Bench::new();
        let name = Image::small("x").push(&bench.registry, "app", "latest");
        let shell = format!("exec \"$@\" {closed}");
        bench.home.pullet(&["pull", "--progress", "plain", &name]).through_shell(&shell).run().exits_in(closed, 0);
        bench.home.pullet(&["unpack", &name, "root"]).through_shell(&shell).run().exits_in(closed, 0);
        bench.home.pullet(&["images"]).through_shell(&shell).run().exits_in(closed, 0);
        bench.home.run(&["verify", &name]).exits_in(closed, 0).prints("3 blobs verified, 0 corrupt or missing\n");
        let bad = bench.home.pullet(&["pull", &bench.registry.name("absent")]).through_shell(&shell).run();
        bad.exits_in(closed, 3);
    }
}
