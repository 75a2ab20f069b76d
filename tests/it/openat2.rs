//! Paths in the tree resolve in the same way with `openat2`, on a kernel without it, and where a seccomp filter forbids it.
//! Without it pullet tries the call once; where it is forbidden, pullet tries it each time.

use std::fs;

use kit::archive::{Entry, dir, file, hardlink, opaque, symlink, whiteout};
use kit::bench::Bench;
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};

/// Layers whose paths lead through relative, absolute and upward links: files, implied parents, hard links and whiteouts.
fn layers() -> Vec<Vec<Entry>> {
    vec![
        vec![
            dir("usr/lib"),
            symlink("lib", "usr/lib"),
            symlink("abs", "/usr/lib"),
            symlink("up", "../../../usr"),
            symlink("out", "/../../tmp"),
            symlink("conf", "/etc"),
            file("lib/a", "1"),
            file("abs/deep/b", "2"),
            file("up/c", "3"),
            file("out/d", "4"),
            file("conf/implied/e", "5"),
            hardlink("abs/linked", "lib/a"),
        ],
        vec![file("lib/new", "6"), whiteout("abs/a"), opaque("up/lib/deep"), file("usr/lib/deep/f", "7")],
        vec![file("other/g", "8"), file("usr/h", "9"), whiteout("out/d")],
    ]
}

#[test]
fn trees_are_the_same_with_and_without_openat2() {
    let image = Image::new(layers().iter().map(|entries| Layer::of(entries)).collect());
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    let unpack = |case: &str, inject: &str| {
        let shell = format!("exec strace -f -qq -o {} -e trace=openat2{inject} \"$@\"", bench.home.arg("trace"));
        bench
            .home
            .pullet(&["unpack", "--pull", "never", &bench.registry.name("app"), case])
            .through_shell(&shell)
            .run()
            .exits_in(case, 0);
        let calls =
            fs::read_to_string(bench.home.path("trace")).unwrap().lines().filter(|l| l.contains("openat2(")).count();
        (listing(&bench.home.path(case)), calls)
    };
    let (expected, calls) = unpack("native", "");
    assert!(calls > 5, "openat2 is not used: {calls} calls");
    assert!(expected.contains("etc/implied/e \"5\"") && expected.contains("usr/lib/deep/f \"7\""), "{expected}");
    for (case, error, expected_calls) in [("lacking", "ENOSYS", 1), ("forbidden", "EPERM", calls)] {
        let (tree, calls) = unpack(case, &format!(" -e inject=openat2:error={error}"));
        assert_same(case, &expected, &tree);
        assert_eq!(calls, expected_calls, "{case}: how often openat2 was tried");
    }
    // A filter that forbids only the first call.
    let (tree, calls_once) = unpack("once", " -e inject=openat2:error=EPERM:when=1");
    assert_same("forbidden once", &expected, &tree);
    assert_eq!(calls_once, calls);
}
