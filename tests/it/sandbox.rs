//! The program enters the Landlock sandbox before it reads untrusted data, and works without it on kernels that lack it.

use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::os::unix::fs::symlink;
use std::process::Command;

use pullet::{Sandbox, Store};

use kit::archive::{char_device, dir, fifo, file, hardlink, symlink as link};
use kit::bench::Bench;
use kit::home::Home;
use kit::image::{Image, Layer};

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
    std::thread::spawn(|| Sandbox::new().enter().is_ok()).join().expect("the thread ends")
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
