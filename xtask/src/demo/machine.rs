//! Stages the three layers: real files of this machine; the freshly built pullet with what it needs to run; and a layer
//! that changes, deletes and empties what lies below it.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use crate::image::Layer;
use crate::{Result, debian, disk, shell};

/// One layer before it is an archive: its files in a folder.
pub struct Staged {
    pub folder: PathBuf,
    pub about: String,
}

/// Something that the third layer does to those below.
pub struct Change {
    path: &'static str,
    left: Left,
    pub claim: &'static str,
}

enum Left {
    /// A file with this text.
    Text(&'static str),
    Nothing,
    /// A folder with this one file.
    Only(&'static str),
}

pub const CHANGES: &[Change] = &[
    Change {
        path: "etc/debian_version",
        left: Left::Text("as changed by the third layer\n"),
        claim: "the third layer changed etc/debian_version",
    },
    Change { path: "etc/issue", left: Left::Nothing, claim: "its whiteout took the file etc/issue away" },
    Change { path: "etc/skel", left: Left::Nothing, claim: "another took the folder etc/skel with all that was in it" },
    Change {
        path: "usr/share/common-licenses",
        left: Left::Only("README"),
        claim: "its opaque folder usr/share/common-licenses hid every licence below",
    },
];

/// What the base takes, where this machine has it.
const FILES: &[&str] = &["/etc/os-release", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/profile"];
/// With every library that they need. The last one is setuid root.
const PROGRAMS: &[&str] = &["/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/passwd"];

/// Stages the layers in folders below `work`, lowest first.
pub fn stage(work: &Path, pullet: &Path) -> Result<Vec<Staged>> {
    Ok(vec![base(work.join("base"))?, freshly_built(work.join("pullet"), pullet)?, changes(work.join("changes"))?])
}

impl Staged {
    /// Archives the folder as it is, with times to the nanosecond, which only the PAX format has.
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
        match self.left {
            Left::Text(text) => Ok(disk::read(&path)? == text),
            Left::Nothing => Ok(path.symlink_metadata().is_err()),
            Left::Only(name) => Ok(disk::list(&path)? == [path.join(name)]),
        }
    }

    /// Writes the change as a layer has it.
    fn stage(&self, folder: &Path) -> Result {
        let path = folder.join(self.path);
        let parent = path.parent().unwrap_or(folder);
        disk::create_folder(parent)?;
        match self.left {
            Left::Text(text) => disk::write(&path, text),
            Left::Nothing => disk::write(&parent.join(format!(".wh.{}", name_of(&path))), ""),
            Left::Only(name) => {
                disk::create_folder(&path)?;
                disk::write(&path.join(".wh..wh..opq"), "")?;
                disk::write(&path.join(name), "the licences were here\n")
            }
        }
    }
}

fn base(folder: PathBuf) -> Result<Staged> {
    disk::create_folder(&folder)?;
    for change in CHANGES {
        take(&folder, &Path::new("/").join(change.path))?;
    }
    for file in FILES.iter().map(Path::new).filter(|file| file.exists()) {
        take(&folder, file)?;
    }
    for program in PROGRAMS.iter().map(Path::new).filter(|program| program.exists()) {
        take_program(&folder, program)?;
    }
    let mut about = String::from("files of this machine, a shell and three more programs, a hard link, a pipe");
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
        take(&folder, library)?;
    }
    let programs = folder.join("usr/bin");
    disk::create_folder(&programs)?;
    shell::run(shell::program("cp").arg("--archive").arg(pullet).arg(programs.join("pullet")))?;
    let names: Vec<String> = libraries.iter().map(|library| name_of(library)).collect();
    let needs = if names.is_empty() { "which needs no library".into() } else { format!("with {}", names.join(", ")) };
    Ok(Staged { folder, about: format!("the pullet just built, {needs}") })
}

fn changes(folder: PathBuf) -> Result<Staged> {
    for change in CHANGES {
        change.stage(&folder)?;
    }
    Ok(Staged { folder, about: "changes one file, deletes a file and a folder, empties another".into() })
}

/// Takes a program with the libraries that it needs.
fn take_program(folder: &Path, program: &Path) -> Result {
    take(folder, program)?;
    libraries(program)?.iter().try_for_each(|library| take(folder, library))
}

/// Takes a path of this machine, and first each link on the way to it, so that the way leads there in the image too.
fn take(folder: &Path, path: &Path) -> Result {
    let mut way = PathBuf::new();
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        way.push(component);
        if disk::metadata(&way)?.is_symlink() {
            copy(folder, &way)?;
            let target = disk::link_target(&way)?;
            let parent = way.parent().unwrap_or(Path::new("/"));
            return take(folder, &without_dots(&parent.join(target).join(rest.as_path())));
        }
    }
    copy(folder, &way)
}

/// Copies a path, whose parents are no links, with everything that is known about it and them.
fn copy(folder: &Path, path: &Path) -> Result {
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

/// The libraries of a program and the loader that finds them, by what `ldd` prints of them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = shell::try_output(shell::program("ldd").arg(program))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // It fails for a static program, which needs nothing.
    Ok(if output.status.success() { paths_in(&text) } else { Vec::new() })
}

fn paths_in(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

/// A hard link and a pipe, which no machine is sure to have in a place that we know.
fn link_and_pipe(folder: &Path) -> Result {
    let original = folder.join("etc/passwd");
    let link = folder.join("etc/passwd.again");
    disk::named("link", &link, std::fs::hard_link(original, &link))?;
    disk::create_folder(&folder.join("run"))?;
    shell::run(shell::program("mkfifo").arg(folder.join("run/pipe")))
}

/// A device, where we may make one: root may, but not in every container.
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
    fn ldd_names_libraries_and_the_loader() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00)\n\tlibgone.so => not found\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths_in(ldd), expected);
        assert!(paths_in("\tstatically linked\n").is_empty());
    }

    #[test]
    fn a_link_target_is_put_where_it_leads() {
        assert_eq!(without_dots(Path::new("/etc/../usr/./lib/os-release")), Path::new("/usr/lib/os-release"));
    }
}
