//! Docker's group `image`, and the commands of Docker that are not a fetcher's work.

use super::{image, pull};
use kit::bench::Bench;
use kit::home::Home;

#[test]
fn the_group_image_has_docker_s_words() {
    let bench = Bench::new();
    let name = image("x").push(&bench.registry, "app", "1");
    bench.home.run(&["image", "pull", "-q", &name]).exits(0).prints(&format!("{name}\n"));
    let plain = bench.home.run(&["images"]).exits(0).stdout;
    for word in ["ls", "list"] {
        bench.home.run(&["image", word]).exits(0).prints(&plain);
    }
    bench.home.run(&["-q", "image", "ls", "--no-trunc"]).exits(0).prints(&format!("{}\n", image("x").config_digest()));
    let lines = bench.home.run(&["image", "history", &name]).exits(0).stdout.lines().count();
    assert_eq!(lines, 3);
    bench.home.run(&["image", "inspect", "-f", "{{.Os}}", &name]).exits(0).prints("linux\n");
    bench.home.run(&["image", "tag", &name, "copy"]).exits(0);
    bench.home.run(&["image", "rm", &name]).exits(0);
    bench.home.run(&["image", "prune", "-a", "-f"]).exits(0);
    assert!(bench.home.index().is_empty());
    pull(&bench, &image("x"), "app", "1");
    bench.home.run(&["image", "remove", &name]).exits(0);
    let help = bench.home.run(&["image", "--help"]).exits(0);
    assert!(help.stdout.contains("\n  ls          ") && help.stdout.contains("\n  rm          "), "{help}");
    assert!(!help.stdout.contains("build"), "{help}");
    let help = bench.home.run(&["image", "rm", "--help"]).exits(0);
    assert!(help.stdout.contains("Usage: pullet rmi "), "{help}");
    bench.home.run(&["image"]).exits(2).fails_in_one_line().says("a command is missing after image");
    bench.home.run(&["image", "nope"]).exits(2).fails_in_one_line().says("nope");
    bench.home.run(&["image", "images"]).exits(2).fails_in_one_line();
}

#[test]
fn names_the_tool_for_other_work() {
    let home = Home::new();
    for (command, tool) in [
        ("build", "buildah"),
        ("push", "skopeo"),
        ("run", "crun or runc"),
        ("create", "crun or runc"),
        ("ps", "crun or runc"),
        ("exec", "crun or runc"),
        ("rm", "crun or runc"),
        ("compose", "podman"),
    ] {
        let outcome = home.run(&[command, "-it", "app", "sh"]).exits_in(command, 2).fails_in_one_line().prints("");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.contains(tool), "{outcome}");
    }
    home.run(&["image", "build", "."]).exits(2).fails_in_one_line().says("buildah");
    home.run(&["image", "push", "app"]).exits(2).fails_in_one_line().says("skopeo");
}
