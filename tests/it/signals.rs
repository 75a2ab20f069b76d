//! SIGINT and SIGTERM end the program wherever it waits: it cleans up and exits with the signal's code. Closed standard
//! streams do no harm.
//!
//! No test asserts a time: a wait that the signal does not end lasts an hour, which the harness reports as a hang.

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

/// Waits until a condition holds that another thread or process brings about.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 60, "timed out: {what}");
        std::thread::yield_now();
    }
}

/// Sends a signal to a waiting run, and expects the exit code and the message.
#[track_caller]
fn interrupt(case: &str, running: Running, (signal, code): (Signal, i32)) -> Finished {
    running.signal(signal);
    running.wait().exits_in(case, code).fails_in_one_line().says("interrupted")
}

fn image() -> Image {
    Image::new(vec![Layer::plain(&kit::archive::archive(&[file("f", vec![7; 5000])]))])
}

const LONG_WAITS: [&str; 4] = ["--stall-timeout", "3600", "--retries", "5"];

#[test]
fn interrupts_a_waiting_download_and_keeps_the_partial_file() {
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
            // Loopback never goes through a proxy.
            let name = match proxy {
                None => pushed,
                Some(_) => format!("registry.example:{}/app:latest", registry.port()),
            };
            let insecure = format!("registry.example:{}", registry.port());
            let args =
                [&["pull"], &LONG_WAITS[..], &["--ca-file", &ca, "--insecure-registry", &insecure, &name]].concat();
            let variables: Vec<(&str, String)> =
                proxy.iter().map(|(scheme, proxy)| ("ALL_PROXY", format!("{scheme}://{}", proxy.host()))).collect();
            let variables: Vec<(&str, &str)> = variables.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let running = home.pullet(&args).envs(&variables).start();
            let partial = home.path("store/ingest").join(format!("{}.partial", layer.replace(':', "-")));
            until("bytes in the partial file", || fs::metadata(&partial).is_ok_and(|meta| meta.len() == 1000));
            interrupt(case, running, signal);
            assert_eq!(fs::metadata(&partial).unwrap().len(), 1000, "{case}");
            assert!(home.index().is_empty(), "{case}");
            home.pullet(&args).envs(&variables).run().exits_in(case, 0);
            let requests: Vec<_> = registry.calls().into_iter().filter(|c| c.request.target.contains(&layer)).collect();
            let size = image.layers[0].blob.len();
            assert_eq!(
                requests[1].request.header("range"),
                Some(format!("bytes=1000-{}", size - 1).as_str()),
                "{case}"
            );
        }
    }
}

#[test]
fn interrupts_every_other_wait_of_a_pull() {
    let image = image();
    for signal in BOTH {
        let start = |bench: &Bench| {
            let name = image.push(&bench.registry, "app", "latest");
            bench.home.pullet(&[&["pull"], &LONG_WAITS[..], &[&name]].concat()).start()
        };
        let bench = Bench::new();
        let latch = Latch::default();
        bench.registry.fault(on("/manifests/").held(&latch));
        let running = start(&bench);
        bench.registry.wait_for("/manifests/");
        interrupt("no answer", running, signal);
        latch.open();

        let bench = Bench::new();
        bench.registry.fault(on("/manifests/").status(503).header("Retry-After", "59"));
        let running = start(&bench);
        bench.registry.wait_for("/manifests/");
        interrupt("a wait before a retry", running, signal);

        for lock in ["lock", "prune.lock", &format!("ingest/{}.partial", image.layers[0].digest().replace(':', "-"))] {
            let bench = Bench::new();
            bench.pull(&Image::small("first")).exits(0);
            let held = fs::File::options().create(true).append(true).open(bench.home.store().join(lock)).unwrap();
            held.lock().unwrap();
            bench.registry.clear_log();
            let running = start(&bench);
            bench.registry.wait_for("/manifests/");
            interrupt(lock, running, signal);
            drop(held);
            start(&bench).wait().exits_in(lock, 0);
        }
    }
}

/// A listener whose queue is full, so that a connection attempt waits.
#[test]
fn interrupts_a_connection_attempt() {
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
        let running = home.pullet(&[&["digest"], &LONG_WAITS[..], &[&format!("{address}/app")]].concat()).start();
        let (port, pid) = (format!(":{:04X} 02", address.port()), running.id());
        until("a SYN is sent", || {
            fs::read_to_string(format!("/proc/{pid}/net/tcp")).is_ok_and(|text| text.contains(&port))
        });
        interrupt("connecting", running, signal);
        drop(queue);
    }
}

#[cfg(feature = "socks")]
#[test]
fn interrupts_a_silent_socks_proxy() {
    for signal in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("socks5://{}", listener.local_addr().unwrap());
        let home = Home::new();
        let args = [&["digest"], &LONG_WAITS[..], &["registry.example/app"]].concat();
        let running = home.pullet(&args).env("ALL_PROXY", &*proxy).start();
        let connection = listener.accept().unwrap();
        interrupt("SOCKS", running, signal);
        drop(connection);
    }
}

/// `/etc/hosts` is a FIFO that nothing writes to, so that the system's lookup blocks.
#[test]
fn interrupts_a_host_name_lookup() {
    for signal in BOTH {
        let home = Home::new();
        let etc = home.etc(&[]);
        let hosts = Path::new(&etc).join("hosts");
        fs::remove_file(&hosts).unwrap();
        rustix::fs::mkfifoat(CWD, &hosts, 0o644.into()).unwrap();
        let running =
            home.pullet(&[&["digest"], &LONG_WAITS[..], &["registry.example/app"]].concat()).with_etc(&etc).start();
        let mut waiting = None;
        until("/etc/hosts is opened", || {
            waiting = fs::File::options().write(true).custom_flags(0o4000).open(&hosts).ok();
            waiting.is_some()
        });
        interrupt("a lookup", running, signal);
    }
}

/// A shell command that delays each of these calls. The process ID stays that of the shell.
fn slow(call: &str) -> String {
    format!("exec strace -D -qq -o /dev/null -e inject={call}:delay_enter=50000 \"$@\"")
}

#[test]
fn interrupts_an_unpack_and_removes_the_tree() {
    let image = Image::new(vec![Layer::of(&[file("zeros", vec![0; 20 << 20])])]);
    for signal in BOTH {
        let bench = Bench::new();
        bench.pull(&image).exits(0);
        let args = ["unpack", "--pull", "never", &bench.registry.name("app"), &bench.home.arg("root")];
        let running = bench.home.pullet(&args).through_shell(&slow("write")).start();
        until("a file in the tree", || bench.home.path(".root.pullet/root/zeros").exists());
        interrupt("unpack", running, signal);
        let mut remaining: Vec<_> =
            fs::read_dir(bench.home.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        remaining.sort();
        assert_eq!(remaining, ["home", "store"]);
    }
}

#[test]
fn interrupts_verify() {
    let image = Image::new(vec![Layer::plain(&kit::archive::archive(&[file("f", vec![0; 20 << 20])]))]);
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    for signal in BOTH {
        let running = bench.home.pullet(&["verify"]).through_shell(&slow("read")).start();
        let (pid, digest) = (running.id(), image.layers[0].digest().replace("sha256:", ""));
        until("the layer is open", || {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.ends_with(&digest))
        });
        interrupt("verify", running, signal);
    }
}

#[test]
fn interrupts_a_credential_helper() {
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
        until("the helper is running", || home.path("asked").exists());
        interrupt("a helper", running, signal);
    }
}

/// Opening a FIFO in place of a file does not react to the first signal, so that the second must end the program. Reading
/// a password from standard input ends at the first.
#[test]
fn a_second_signal_ends_the_program_and_the_first_ends_a_wait_for_input() {
    let home = Home::new();
    rustix::fs::mkfifoat(CWD, home.path("fifo"), 0o600.into()).unwrap();
    let catches = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or_default();
        u64::from_str_radix(caught, 16).is_ok_and(|mask| mask & 0x4002 == 0x4002)
    };
    let running = home.pullet(&["digest", "--ca-file", "fifo", "127.0.0.1:1/app"]).start();
    until("the handlers are installed", || catches(running.id()));
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    running.wait().exits_among("twice", &[130, 143]);
    for (signal, code) in BOTH {
        let args = ["login", "-u", "robot", "--password-stdin", "127.0.0.1:1"];
        let running = home.pullet(&args).through_shell("exec \"$@\" < fifo").start();
        let _open = fs::File::options().write(true).open(home.path("fifo")).unwrap();
        until("the handlers are installed", || catches(running.id()));
        running.signal(signal);
        running.wait().exits(code);
    }
}

/// Runs `command` in a terminal and returns the screen. `answer` sees the screen after each byte and may type keys.
fn run_in_terminal(home: &Home, command: &str, answer: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> String {
    let mut script = debian::command("script");
    script.args(["-qec", command, "/dev/null"]).env_clear().env("SHELL", "/bin/sh").env("TERM", "xterm");
    script.env("HOME", home.path("home")).env("PULLET_STORE", home.store()).env("PATH", "/usr/bin:/bin");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut screen, mut byte) = (Vec::new(), [0]);
    while output.read(&mut byte).unwrap() == 1 {
        screen.push(byte[0]);
        if let Some(typed) = answer(&String::from_utf8_lossy(&screen)) {
            keys.write_all(&typed).unwrap();
        }
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&screen).into_owned()
}

#[test]
fn restores_the_terminal() {
    // A pull: the progress block is removed, and the error has a separate line.
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[0].digest()).stall(1000));
    let command = format!("trap : INT; {} pull {name}; echo \"code $?\"", program().display());
    let mut is_typed = false;
    let screen = run_in_terminal(&bench.home, &command, &mut |screen| {
        let now = screen.contains("Downloading") && !std::mem::replace(&mut is_typed, screen.contains("Downloading"));
        now.then(|| vec![3])
    });
    let end = screen.rsplit("\r\u{1b}[1A\u{1b}[J").next().unwrap();
    assert!(end.starts_with("\u{1b}[31mpullet:\u{1b}[m pull ") && end.ends_with("\r\ncode 130\r\n"), "{screen:?}");
    assert!(end.contains("interrupted\r\n"), "{screen:?}");
    // A password prompt: the echo is restored after a key and after a signal.
    for (case, code) in [("key", 130), ("TERM", 143), ("INT", 130)] {
        let login = format!("{} login -u robot {}", program().display(), bench.registry.host());
        let command = format!("sh -c 'echo \"pid $$ \"; exec {login}'; echo \"code $?\"; stty -a");
        let mut is_done = false;
        let screen = run_in_terminal(&bench.home, &command, &mut |screen| {
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
fn a_closed_output_pipe_is_not_an_error() {
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

/// A file of the store must not get the descriptor of a closed standard stream, because messages would be written to it.
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

#[test]
fn no_archive_is_written_to_a_terminal() {
    let bench = Bench::new();
    let image = Image::small("terminal");
    bench.pull(&image).exits(0);
    let name = bench.registry.name("app:latest");
    for (verb, text) in [("export", "the tar is not written"), ("save", "the archive is not written")] {
        let command = format!("{} {verb} {name}; echo exit $?", program().display());
        let screen = run_in_terminal(&bench.home, &command, &mut |_| None);
        assert!(screen.contains(&format!("{text} to a terminal")) && screen.contains("exit 2"), "{verb}: {screen}");
        assert!(!screen.contains("ustar"), "{verb}: {screen}");
    }
}
