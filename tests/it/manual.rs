//! The man pages in share/man, rendered by mandoc and by groff as Debian's man runs it.

use std::fs;
use std::path::{Path, PathBuf};

use kit::debian::{command, run};
use kit::home::Home;

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("share/man/man1");
    let mut pages: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

#[test]
fn mandoc_finds_nothing_wrong() {
    let outcome = run(command("mandoc").arg("-Tlint").args(pages())).expect(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
}

#[test]
fn man_renders_every_page_without_warnings() {
    for page in pages() {
        let mut man = command("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(&page);
        let outcome = run(man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80")).expect(0);
        assert_eq!(outcome.stderr, "", "{}", page.display());
        let name = page.file_stem().unwrap().to_str().unwrap();
        // Lines are justified.
        let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        // A group of commands has no options.
        let heading = if name == "pullet-image" { " COMMANDS " } else { " OPTIONS " };
        assert!(words.contains(&format!(" NAME {name} - ")) && words.contains(heading), "{}", outcome.stdout);
        let longest = outcome.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{name}: {longest:?} columns");
    }
}

#[test]
fn every_command_has_a_page() {
    let names: Vec<String> =
        pages().iter().map(|page| page.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let help = Home::new().run(&["completion", "words", "--", "help", ""]).exits(0).stdout;
    for line in help.lines() {
        let (command, _) = line.split_once('\t').unwrap();
        assert!(names.contains(&format!("pullet-{command}")), "{command}");
    }
    assert_eq!(names.len(), help.lines().count() + 1);
}
