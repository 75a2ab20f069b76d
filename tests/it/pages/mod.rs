//! The pages of the documentation, run as they are written.
//!
//! [`page`] takes a page apart, and [`world`] runs its commands, with the servers and files that [`scenes`] prepare. A page that
//! runs nothing says why in a comment.

mod page;
mod scenes;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use page::Page;

/// Defines a test for each page: its name, its path, and the scene that it needs.
macro_rules! pages {
    ($($name:ident $path:literal $scene:ident;)*) => {
        /// The pages with a test.
        const RUN: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() {
                world::run_page(concat!("pages::", stringify!($name)), $path, scenes::$scene);
            }
        )*
    };
}

pages! {
    agent "docs/agent.md" signed_systems;
    ci "docs/ci.md" hub_and_policy;
    clock "docs/clock.md" clock_of_systemd;
    configuration "docs/configuration.md" accounts;
    devices "docs/devices.md" slots;
    events "docs/events.md" hub;
    exit_codes "docs/exit-codes.md" failures;
    from_scratch "docs/from-scratch.md" pullet_in_the_folder;
    initramfs "docs/initramfs.md" hub;
    migrating "docs/migrating.md" hub_and_policy;
    mirrors "docs/mirrors.md" mirror;
    offline "docs/offline.md" networks;
    policy "docs/policy.md" owner;
    readme "README.md" hub;
    security "docs/security.md" attacks;
    signatures "docs/signatures.md" cosigned;
    store "docs/store.md" hub;
    tour "docs/tour.md" hub_and_policy;
    unpack "docs/unpack.md" layered;
    update "docs/update.md" signed_systems;
    versions "docs/versions.md" versions;
}

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages: those of `docs`, and the README.
fn all() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let name = |path: PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let mut pages: Vec<String> = pages.map(name).chain(["README.md".to_owned()]).collect();
    pages.sort();
    pages
}

#[test]
fn every_page_is_run_or_says_why_not() {
    let mut complaints = Vec::new();
    for path in all() {
        let page = Page::parse(&fs::read_to_string(root().join(&path)).unwrap());
        complaints.extend(page.complaints.iter().map(|complaint| format!("{path}: {complaint}")));
        match (page.steps.is_empty(), RUN.contains(&path.as_str())) {
            (false, false) => complaints.push(format!("{path}: has commands, but no test runs it")),
            (true, true) => complaints.push(format!("{path}: has a test, but no commands")),
            (true, false) if page.reasons.is_empty() => {
                complaints.push(format!("{path}: has no commands and no reason (`<!-- not run: REASON -->`)"));
            }
            _ => {}
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
