//! The RPM package, by rpmbuild. Its macros take the release's date for the time of the build and of the files.

use std::path::PathBuf;

use super::Target;
use super::contents::{Item, Kind};
use super::release::Release;
use super::tree;
use crate::{Result, disk, shell};

/// Settings that make the result depend only on the files, and that every RPM since 4.14 can read.
const MACROS: &[&str] = &[
    "_buildhost localhost",
    "use_source_date_epoch_as_buildtime 1",
    "clamp_mtime_to_source_date_epoch 1",
    "source_date_epoch_from_changelog 0",
    "_binary_payload w6.xzdio",
    "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
];

/// Makes the package, unless RPM has no name for the target.
pub fn make(release: &Release, target: &Target) -> Result<Option<PathBuf>> {
    let Some(architecture) = &target.names.rpm else { return Ok(None) };
    let items = target.items(release, Kind::Rpm)?;
    let (tree, top) = (release.work.join("rpm"), release.work.join("rpmbuild"));
    tree::lay(release, &items, &tree)?;
    disk::fresh(&top)?;
    let template = disk::read(&release.root.join("packaging/rpm/pullet.spec"))?;
    let spec = top.join("pullet.spec");
    disk::write(&spec, release.fill(&template, &[("MAINTAINER", target.maintainer), ("FILES", &files(&items))])?)?;
    let mut rpmbuild = release.command("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target", &format!("{architecture}-linux")]);
    let folders = [("_topdir", &top), ("_rpmdir", &release.out), ("tree", &tree)];
    rpmbuild.args(folders.iter().flat_map(|(name, path)| ["--define".into(), format!("{name} {}", path.display())]));
    rpmbuild.args(MACROS.iter().flat_map(|setting| ["--define", setting])).arg(&spec);
    // The macros of this machine's user do not count.
    shell::run(rpmbuild.env("HOME", &top))?;
    Ok(Some(release.out.join(format!("pullet-{}-1.{architecture}.rpm", release.version))))
}

/// The lines of `%files`. Only folders that belong to pullet alone are listed.
fn files(items: &[Item]) -> String {
    let mut folders: Vec<&str> = Vec::new();
    let mut lines = String::new();
    for item in items {
        let own = item.path.match_indices('/').map(|(end, _)| &item.path[..end]);
        for folder in own.filter(|folder| folder.contains("/pullet") || folder.contains("/90pullet")) {
            if !folders.contains(&folder) {
                folders.push(folder);
                lines += &format!("%dir /{folder}\n");
            }
        }
        lines += &format!("/{}\n", item.path);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_folders_that_belong_to_pullet() {
        let item = |path: &str| Item { source: PathBuf::new(), path: path.into(), mode: 0o644, is_compressed: false };
        let items = [item("usr/bin/pullet"), item("usr/share/doc/pullet/a"), item("usr/share/doc/pullet/docs/b")];
        let expected = "/usr/bin/pullet\n%dir /usr/share/doc/pullet\n/usr/share/doc/pullet/a\n\
                        %dir /usr/share/doc/pullet/docs\n/usr/share/doc/pullet/docs/b\n";
        assert_eq!(files(&items), expected);
    }
}
