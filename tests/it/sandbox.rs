//! The program enters the Landlock sandbox before it reads untrusted data, and works without it on kernels that lack it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind::PermissionDenied;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;

use pullet::{Sandbox, Store};
use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};

use kit::archive::{char_device, dir, fifo, file, hardlink, symlink as link};
use kit::bench::Bench;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer};
use kit::process::is_root;

const CALLS: &str = "trace=landlock_create_ruleset,landlock_add_rule,landlock_restrict_self,prctl,connect,execve";

/// The traced system calls in order, and the lines of standard error that are about the sandbox.
struct Trace {
    calls: Vec<String>,
    lines: Vec<String>,
}

impl Trace {
    fn position(&self, call: &str) -> Option<usize> {
        self.calls.iter().position(|line| line.contains(call))
    }
}

/// Runs a command with `-v` under strace, which can inject the result of a call.
#[track_caller]
fn traced(home: &Home, args: &[&str], injected: Option<&str>) -> Trace {
    let log = home.arg("trace");
    let mut words = vec!["strace", "-o", &log, "-e", CALLS];
    words.extend(injected.iter().flat_map(|injected| ["-e", injected]));
    let outcome = home.pullet(&[args, &["-v"]].concat()).under(&words).run().exits_in(&format!("{injected:?}"), 0);
    let lines = outcome.stderr.lines().filter(|line| line.contains("sandbox: ")).map(str::to_owned).collect();
    let calls = fs::read_to_string(log).expect("strace runs").lines().map(str::to_owned).collect();
    Trace { calls, lines }
}

/// Returns true if this kernel supports the sandbox. If not, the tests check that pullet works without it.
fn has_landlock() -> bool {
    on_thread(|| Sandbox::new().enter().is_ok())
}

/// An image with entries of every kind, links between folders, and a whiteout.
fn image() -> Image {
    let first = [
        dir("a"),
        dir("b"),
        file("a/file", "text"),
        hardlink("b/hard", "a/file"),
        link("b/link", "../a/file"),
        fifo("a/pipe"),
        char_device("a/null", 1, 3),
        file("a/gone", "text"),
    ];
    let second = [file("a/.wh.gone", ""), file("b/hard", "other")];
    Image::new(vec![Layer::of(&first), Layer::of(&second)])
}

#[test]
fn allows_writes_only_inside_the_store_and_the_target() {
    let home = Home::new();
    for folder in ["store/blobs", "targets", "other"] {
        fs::create_dir_all(home.path(folder)).unwrap();
    }
    home.write("other/file", "untouched");
    let sandbox = Sandbox::new().store(&Store::open(home.store())).target(&home.path("targets/root"));
    // The sandbox applies to this thread only, so the other tests are not affected.
    let is_confined = std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let is_confined = sandbox.enter().is_ok();
            let denied = |done: std::io::Result<()>| match done {
                Err(e) if e.kind() == PermissionDenied => is_confined,
                Ok(()) => !is_confined,
                Err(e) => panic!("{e}"),
            };
            fs::write(home.path("store/blobs/a"), "").unwrap();
            fs::create_dir(home.path("targets/stage")).unwrap();
            fs::rename(home.path("store/blobs/a"), home.path("targets/stage/a")).unwrap();
            fs::hard_link(home.path("targets/stage/a"), home.path("store/b")).unwrap();
            fs::remove_file(home.path("store/b")).unwrap();
            assert_eq!(fs::read_to_string(home.path("other/file")).unwrap(), "untouched");
            assert!(denied(fs::write(home.path("other/new"), "")), "a file is created");
            assert!(denied(fs::create_dir(home.path("other/folder"))), "a folder is created");
            assert!(denied(symlink("x", home.path("other/link"))), "a link is created");
            assert!(denied(fs::rename(home.path("targets/stage/a"), home.path("other/a"))), "a file is moved out");
            assert!(denied(fs::write(home.path("other/file"), "changed")), "a file is written");
            assert!(denied(fs::remove_file(home.path("other/file"))), "a file is removed");
            assert!(denied(Command::new("/bin/true").status().map(drop)), "a program is run");
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
            is_confined
        });
        confined.join().unwrap()
    });
    assert_eq!(home.path("other/file").exists(), is_confined);
}

#[test]
fn allows_creating_a_store_that_does_not_exist_yet() {
    let home = Home::new();
    let (store, target) = (home.path("deep/er/store"), home.path("root"));
    std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let _ = Sandbox::new().store(&Store::open(&store)).target(&target).enter();
            fs::create_dir_all(&store).and_then(|()| fs::create_dir(&target)).unwrap();
        });
        confined.join().unwrap();
    });
}

#[test]
fn is_entered_before_the_first_connection() {
    let bench = Bench::new();
    let name = image().push(&bench.registry, "app", "latest");
    let (one, other) = (bench.home.arg("one"), bench.home.arg("other"));
    let commands: [&[&str]; 8] = [
        &["pull", &name],
        &["unpack", &name, &one],
        &["unpack", "--pull", "always", &name, &other],
        &["tags", name.trim_end_matches(":latest")],
        &["digest", &name],
        &["manifest", &name],
        &["images"],
        &["verify", "--remove-corrupt"],
    ];
    for args in commands {
        let trace = traced(&bench.home, args, None);
        let log = trace.calls.join("\n");
        let entered = trace.position("landlock_restrict_self");
        assert_eq!(entered.is_some(), has_landlock(), "{args:?}\n{log}");
        assert!(trace.position("PR_SET_NO_NEW_PRIVS, 1").is_some(), "{args:?}\n{log}");
        assert!(
            trace.position("connect(").is_none_or(|connected| entered.is_none_or(|entered| entered < connected)),
            "{log}"
        );
        assert_eq!(trace.lines.len(), 1, "{args:?} {:?}", trace.lines);
    }
}

#[test]
fn reports_a_kernel_without_landlock_and_continues() {
    for (injected, prefix) in [
        ("inject=landlock_create_ruleset:error=ENOSYS", "no sandbox: "),
        ("inject=landlock_create_ruleset:error=EOPNOTSUPP", "no sandbox: "),
        ("inject=landlock_create_ruleset:error=EPERM", "no sandbox: "),
        // ABI version 1 forbids renames between folders.
        ("inject=landlock_create_ruleset:retval=1", "no sandbox: "),
        ("inject=landlock_restrict_self:error=E2BIG", "no sandbox: "),
        ("inject=landlock_add_rule:error=EINVAL", "no sandbox: "),
        ("inject=prctl:error=EINVAL", "no sandbox: "),
        // Each later version adds a right.
        ("inject=landlock_create_ruleset:retval=2:when=1", "sandbox: "),
        ("inject=landlock_create_ruleset:retval=3:when=1", "sandbox: "),
        ("inject=landlock_create_ruleset:retval=99:when=1", "sandbox: "),
    ] {
        let bench = Bench::new();
        let name = image().push(&bench.registry, "app", "latest");
        let trace = traced(&bench.home, &["unpack", &name, &bench.home.arg("root")], Some(injected));
        assert_eq!(trace.lines.len(), 1, "{injected} {:?}", trace.lines);
        let prefix = if has_landlock() { prefix } else { "no sandbox: " };
        assert!(trace.lines[0].starts_with(prefix), "{injected} {:?}", trace.lines);
        assert!(trace.position("PR_SET_NO_NEW_PRIVS, 1").is_some(), "{injected} {:?}", trace.calls);
        assert_eq!(fs::read_to_string(bench.home.path("root/b/hard")).unwrap(), "other");
        // Without -v nothing is reported.
        bench.home.run(&["images"]).exits(0).hides("sandbox");
    }
}

#[test]
fn blobs_may_be_on_another_disk() {
    let bench = Bench::new();
    let name = image().push(&bench.registry, "app", "latest");
    fs::create_dir_all(bench.home.path("disk/blobs/sha256")).unwrap();
    fs::create_dir(bench.home.path("disk/ingest")).unwrap();
    fs::create_dir(bench.home.store()).unwrap();
    symlink(bench.home.path("disk/blobs"), bench.home.store().join("blobs")).unwrap();
    symlink(bench.home.path("disk/ingest"), bench.home.store().join("ingest")).unwrap();
    bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits(0);
}

/// Which kinds of files can be created where.
#[test]
fn only_trees_get_links_and_only_trees_with_devices_get_devices() {
    let home = Home::new();
    fs::create_dir(home.path("targets")).unwrap();
    let (store, target) = (Store::open(home.path("targets")), home.path("targets/root"));
    let is_confined = has_landlock();
    for (case, sandbox, has_links, has_devices) in [
        ("store", Sandbox::new().store(&store), false, false),
        ("output", Sandbox::new().output(&target), false, false),
        ("tree without devices", Sandbox::new().target(&target).devices(false), true, false),
        ("tree", Sandbox::new().target(&target), true, true),
    ] {
        let folder = home.path("targets").join(case);
        fs::create_dir(&folder).unwrap();
        let folder = File::open(folder).unwrap();
        let made = on_thread(|| {
            let _ = sandbox.enter();
            let make = |kind, name| mknodat(&folder, name, kind, Mode::RWXU, makedev(1, 3)).err();
            [
                ("folder", mkdirat(&folder, "folder", Mode::RWXU).err()),
                ("file", make(FileType::RegularFile, "file")),
                ("link", symlinkat("x", &folder, "link").err()),
                ("fifo", make(FileType::Fifo, "fifo")),
                ("socket", make(FileType::Socket, "socket")),
                ("character device", make(FileType::CharacterDevice, "character device")),
                ("block device", make(FileType::BlockDevice, "block device")),
            ]
        });
        for (kind, error) in made {
            let is_device = kind.ends_with("device");
            let is_granted = match kind {
                "folder" | "file" => true,
                _ if is_device => has_devices,
                _ => has_links,
            };
            let expected = match (is_granted, is_device) {
                (false, _) if is_confined => Some(Errno::ACCESS),
                (false, true) => Some(Errno::PERM),
                (true, true) if !is_root() => Some(Errno::PERM),
                _ => None,
            };
            assert_eq!(error, expected, "{case}: {kind}");
        }
    }
}

/// Later kernels restrict more than files.
#[test]
fn restricts_sockets_signals_and_devices_where_the_kernel_can() {
    let version = landlock_version();
    let denied = |since: i32, error: Errno| if version >= since { Some(error) } else { None };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let name = SocketAddr::from_abstract_name(format!("pullet-test-{}", address.port())).unwrap();
    let _server = UnixListener::bind_addr(&name).unwrap();
    let mut process = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_child(&process);
    for is_offline in [false, true] {
        on_thread(|| {
            let sandbox = if is_offline { Sandbox::new().offline() } else { Sandbox::new() };
            assert_eq!(sandbox.enter().is_ok(), has_landlock());
            let errno = |error: std::io::Error| error.raw_os_error().map(Errno::from_raw_os_error);
            let connected = TcpStream::connect(address).err().and_then(errno);
            assert_eq!(connected, if is_offline { denied(4, Errno::ACCESS) } else { None });
            let bound = TcpListener::bind("127.0.0.1:0").err().and_then(errno);
            assert_eq!(bound, denied(4, Errno::ACCESS), "a TCP port");
            let device = File::open("/dev/null").unwrap();
            let controlled = rustix::termios::tcgetattr(&device).err();
            assert_eq!(controlled, denied(5, Errno::ACCESS).or(Some(Errno::NOTTY)), "a device");
            let connected = UnixStream::connect_addr(&name).err().and_then(errno);
            assert_eq!(connected, denied(6, Errno::PERM), "an abstract socket");
            assert_eq!(kill_process(pid, Signal::CONT).err(), denied(6, Errno::PERM), "a signal");
            // A thread can still signal its own process.
            assert_eq!(test_kill_process(getpid()).err(), None);
        });
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

/// The sets of capabilities of all threads of a process, by their names in `/proc/PID/status`.
fn capabilities(pid: u32) -> BTreeMap<String, u64> {
    let mut sets = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        for (name, value) in status.lines().filter_map(|line| line.split_once(":\t")) {
            if name.starts_with("Cap") {
                let set = u64::from_str_radix(value, 16).unwrap();
                assert_eq!(*sets.entry(name.to_owned()).or_insert(set), set, "{pid}: {name} of all threads");
            }
        }
    }
    sets
}

/// The capabilities that an unpacking root keeps, as `capabilities(7)` numbers them: CHOWN, DAC_OVERRIDE, FOWNER, FSETID,
/// SYS_ADMIN, MKNOD, SETFCAP.
const TREE: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;
const MKNOD: u64 = 1 << 27;

#[test]
fn gives_up_capabilities_before_untrusted_input_is_read() {
    let own = capabilities(std::process::id());
    let cases: [(&[&str], &str, u64); 10] = [
        (&["pull", "NAME"], "/blobs/", 0),
        (&["pull", "-j", "3", "NAME"], "/blobs/", 0),
        (&["pull", "NAME"], "/manifests/", 0),
        (&["tags", "REPOSITORY"], "/tags/", 0),
        (&["digest", "NAME"], "/manifests/", 0),
        (&["manifest", "NAME"], "/manifests/", 0),
        (&["artifact", "NAME", "DIR"], "/manifests/", 0),
        (&["unpack", "NAME", "DIR"], "/blobs/", TREE),
        (&["unpack", "-j", "3", "--no-devices", "NAME", "DIR"], "/blobs/", TREE & !MKNOD),
        (&["unpack", "--stream", "NAME", "DIR"], "/blobs/", TREE),
    ];
    for (words, path, kept) in cases {
        let (bench, latch) = (Bench::new(), Latch::default());
        let name = image().push(&bench.registry, "app", "latest");
        let (repository, target) = (name.trim_end_matches(":latest").to_owned(), bench.home.arg("target"));
        bench.registry.fault(on(path).held(&latch));
        let value = |word| match word {
            "NAME" => name.clone(),
            "REPOSITORY" => repository.clone(),
            "DIR" => target.clone(),
            other => other.to_owned(),
        };
        let args: Vec<String> = words.iter().map(|word| value(*word)).collect();
        let running = bench.home.pullet(&args).start();
        bench.registry.wait_for(path);
        let sets = capabilities(running.id());
        latch.open();
        running.wait();
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(sets[set], own[set] & kept, "{words:?}: {set}");
        }
        assert_eq!((sets["CapInh"], sets["CapAmb"]), (0, 0), "{words:?}");
        let may_drop = own["CapEff"] & 1 << 8 != 0;
        assert_eq!(sets["CapBnd"], if may_drop { 0 } else { own["CapBnd"] }, "{words:?}");
    }
}

/// Root without capabilities could not use these, but root with them can.
#[test]
fn root_uses_stores_and_folders_of_other_users() {
    let bench = Bench::new();
    let name = image().push(&bench.registry, "app", "latest");
    fs::create_dir(bench.home.path("alice")).unwrap();
    let (store, target, other) = (bench.home.arg("alice/store"), bench.home.arg("root"), bench.home.arg("alice/other"));
    if is_root() {
        let alice = bench.home.path("alice");
        chown(&alice, Some(4711), None).unwrap();
        fs::set_permissions(&alice, Permissions::from_mode(0o700)).unwrap();
    }
    let run = |args: &[&str]| bench.home.run(&[args, &["--store", &store]].concat()).exits_in(&format!("{args:?}"), 0);
    run(&["pull", &name]);
    run(&["pull", &name]);
    run(&["images", "-q"]).prints(&bench.home.run(&["images", "-q", "--store", &store]).stdout);
    run(&["verify"]);
    run(&["unpack", "--pull", "never", &name, &target]);
    run(&["unpack", "--pull", "always", &name, &other]);
    assert!(bench.home.path("alice/other/a").is_dir());
}

/// The owner of a file of credentials stays.
#[test]
fn root_logs_in_for_another_user() {
    let bench = Bench::new();
    bench.registry.require("Basic dTpw", &["Basic realm=\"r\""]);
    let file = bench.home.write("auth.json", "{}");
    if is_root() {
        chown(&file, Some(4711), None).unwrap();
    }
    let owner = fs::metadata(&file).unwrap().uid();
    let args = ["login", "-u", "u", "--password-stdin", "--authfile", &file, &bench.registry.host()];
    bench.home.pullet(&args).stdin("p").run().exits(0);
    assert!(fs::read_to_string(&file).unwrap().contains("dTpw"));
    assert_eq!(fs::metadata(&file).unwrap().uid(), owner);
}

/// Runs `work` on a separate thread, because a sandbox is permanent.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().expect("the thread ends"))
}

/// The version of Landlock's interface that pullet can use in this kernel, or 0.
fn landlock_version() -> i32 {
    use landlock::{Access as _, AccessFs, LandlockStatus, Ruleset, RulesetAttr as _};
    let probe = || {
        let rules = Ruleset::default().handle_access(AccessFs::from_all(landlock::ABI::V1))?;
        rules.create()?.restrict_self()
    };
    match on_thread(probe).expect("the kernel answers").landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        _ => 0,
    }
}
