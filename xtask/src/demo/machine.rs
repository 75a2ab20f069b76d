//! Stages the three layers: files of this machine; the new pullet with its libraries; and a layer that changes, deletes
//! and hides files of the layers below.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use crate::image::Layer;
use crate::{Result, debian, disk, shell};

/// One layer as a folder, before it is archived.
pub struct Staged {
    pub folder: PathBuf,
    pub about: String,
}

/// A change that the third layer makes to the layers below.
pub struct Change {
    path: &'static str,
    result: Outcome,
    pub claim: &'static str,
}

/// The state of the path after the change.
enum Outcome {
    /// A file with this text.
    Text(&'static str),
    Nothing,
    /// A folder with only this file.
    Only(&'static str),
}

pub const CHANGES: &[Change] = &[
    Change {
        path: "etc/debian_version",
        result: Outcome::Text("changed by the third layer\n"),
        claim: "the third layer changed etc/debian_version",
    },
    Change { path: "etc/issue", result: Outcome::Nothing, claim: "its whiteout removed the file etc/issue" },
    Change {
        path: "etc/skel",
        result: Outcome::Nothing,
        claim: "another whiteout removed the folder etc/skel with its content",
    },
    Change {
        path: "usr/share/common-licenses",
        result: Outcome::Only("README"),
        claim: "its opaque folder usr/share/common-licenses hid all files below",
    },
];

/// The files of the base layer, as far as this machine has them.
const FILES: &[&str] = &["/etc/os-release", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/profile"];
/// The programs of the base layer, copied with their libraries. The last one is setuid root.
const PROGRAMS: &[&str] = &["/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/passwd"];

/// Stages the layers in folders below `work`, lowest first.
pub fn stage(work: &Path, pullet: &Path) -> Result<Vec<Staged>> {
    Ok(vec![base(work.join("base"))?, freshly_built(work.join("pullet"), pullet)?, changes(work.join("changes"))?])
}

impl Staged {
    /// Archives the folder in the PAX format, because only that has times in nanoseconds.
    pub fn layer(&self, file: PathBuf) -> Result<Layer> {
        let mut tar = shell::program("tar");
        tar.args(["--create", "--sort=name", "--numeric-owner", "--format=posix"]);
        tar.args(["--pax-option=delete=atime,delete=ctime", "--directory"]).arg(&self.folder).arg(".");
        let mut tar = tar.stdout(Stdio::piped()).spawn().map_err(|e| format!("start tar: {e}"))?;
        let mut archive = tar.stdout.take().expect("spawned with a pipe");
        let layer = Layer::new(file, |into| io::copy(&mut archive, into).map(drop))?;
        match tar.wait() {
            Ok(status) if status.success() => Ok(layer),
            other => Err(format!("tar: {other:?}")),
        }
    }
}

impl Change {
    pub fn holds_in(&self, root: &Path) -> Result<bool> {
        let path = root.join(self.path);
        match self.result {
            Outcome::Text(text) => Ok(disk::read(&path)? == text),
            Outcome::Nothing => Ok(path.symlink_metadata().is_err()),
            Outcome::Only(name) => Ok(disk::list(&path)? == [path.join(name)]),
        }
    }

    /// Writes the change into the folder of a layer.
    fn stage(&self, folder: &Path) -> Result {
        let path = folder.join(self.path);
        let parent = path.parent().unwrap_or(folder);
        disk::create_folder(parent)?;
        match self.result {
            Outcome::Text(text) => disk::write(&path, text),
            Outcome::Nothing => disk::write(&parent.join(format!(".wh.{}", name_of(&path))), ""),
            Outcome::Only(name) => {
                disk::create_folder(&path)?;
                disk::write(&path.join(".wh..wh..opq"), "")?;
                disk::write(&path.join(name), "the licences were in the layer below\n")
            }
        }
    }
}

fn base(folder: PathBuf) -> Result<Staged> {
    disk::create_folder(&folder)?;
    for change in CHANGES {
        copy(&folder, &Path::new("/").join(change.path))?;
    }
    for file in FILES.iter().map(Path::new).filter(|file| file.exists()) {
        copy(&folder, file)?;
    }
    for program in PROGRAMS.iter().map(Path::new).filter(|program| program.exists()) {
        copy_program(&folder, program)?;
    }
    let mut about = String::from("files of this machine, a shell, three other programs, a hard link, a pipe");
    link_and_pipe(&folder)?;
    if null_device(&folder)? {
        about += ", /dev/null";
    }
    Ok(Staged { folder, about })
}

fn freshly_built(folder: PathBuf, pullet: &Path) -> Result<Staged> {
    disk::create_folder(&folder)?;
    let libraries = libraries(pullet)?;
    for library in &libraries {
        copy(&folder, library)?;
    }
    let programs = folder.join("usr/bin");
    disk::create_folder(&programs)?;
    shell::run(shell::program("cp").arg("--archive").arg(pullet).arg(programs.join("pullet")))?;
    let names: Vec<String> = libraries.iter().map(|library| name_of(library)).collect();
    let needs = if names.is_empty() { "which is static".into() } else { format!("with {}", names.join(", ")) };
    Ok(Staged { folder, about: format!("the new pullet, {needs}") })
}

fn changes(folder: PathBuf) -> Result<Staged> {
    for change in CHANGES {
        change.stage(&folder)?;
    }
    Ok(Staged {
        folder,
        about: "changes a file, deletes a file and a folder, replaces the content of another folder".into(),
    })
}

/// Copies a program with its libraries.
fn copy_program(folder: &Path, program: &Path) -> Result {
    copy(folder, program)?;
    libraries(program)?.iter().try_for_each(|library| copy(folder, library))
}

/// Copies a path of this machine, and each link on the way to it, so that the path is valid in the image too.
fn copy(folder: &Path, path: &Path) -> Result {
    let mut prefix = PathBuf::new();
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        prefix.push(component);
        if disk::metadata(&prefix)?.is_symlink() {
            copy_one(folder, &prefix)?;
            let target = disk::link_target(&prefix)?;
            let parent = prefix.parent().unwrap_or(Path::new("/"));
            return copy(folder, &without_dots(&parent.join(target).join(rest.as_path())));
        }
    }
    copy_one(folder, &prefix)
}

/// Copies one path and its parents, none of which may be a link, with all their metadata.
fn copy_one(folder: &Path, path: &Path) -> Result {
    let relative = path.strip_prefix("/").map_err(|e| format!("{}: {e}", path.display()))?;
    let mut cp = shell::program("cp");
    cp.args(["--archive", "--parents"]).arg(relative).arg(folder);
    shell::run(cp.current_dir("/"))
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The libraries of a program and its loader, as `ldd` prints them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = shell::try_output(shell::program("ldd").arg(program))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // ldd fails for static programs.
    Ok(if output.status.success() { paths_in(&text) } else { Vec::new() })
}

fn paths_in(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

/// Makes a hard link and a pipe, because not every machine has them at a known path.
fn link_and_pipe(folder: &Path) -> Result {
    let original = folder.join("etc/passwd");
    let link = folder.join("etc/passwd.again");
    disk::named("link", &link, std::fs::hard_link(original, &link))?;
    disk::create_folder(&folder.join("run"))?;
    shell::run(shell::program("mkfifo").arg(folder.join("run/pipe")))
}

/// Makes a device if possible: only root may, and not in every container.
fn null_device(folder: &Path) -> Result<bool> {
    disk::create_folder(&folder.join("dev"))?;
    let mut mknod = shell::program("mknod");
    mknod.args(["--mode=666"]).arg(folder.join("dev/null")).args(["c", "1", "3"]);
    Ok(debian::is_root()? && shell::succeeds(&mut mknod))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_libraries_and_the_loader() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00)\n\tlibgone.so => not found\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths_in(ldd), expected);
        assert!(paths_in("\tstatically linked\n").is_empty());
    }

    #[test]
    fn removes_dots_from_paths() {
        assert_eq!(without_dots(Path::new("/etc/../usr/./lib/os-release")), Path::new("/usr/lib/os-release"));
    }
}
