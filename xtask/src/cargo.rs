//! The workspace and cargo: where things are, and pullet built as its users have it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, shell};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let compiled = || env!("CARGO_MANIFEST_DIR").into();
    let xtask: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(compiled, PathBuf::from);
    xtask.parent().unwrap_or(Path::new(".")).to_owned()
}

/// The same cargo that runs us, in the folder of the workspace.
pub fn command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    // It is ours, told by the cargo that runs us. Build scripts that look at it would run anew, and all that is built on them.
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(root()).args(arguments);
    command
}

/// The folder that cargo builds in, wherever the environment or a configuration file has put it.
pub fn target() -> Result<PathBuf> {
    let metadata = shell::read(&mut command(&["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let folder = text_field(&metadata, "target_directory");
    folder.map(PathBuf::from).ok_or_else(|| "cargo metadata names no target directory".into())
}

/// Builds pullet in the given profile and gives the path of its binary.
pub fn build(profile: &str) -> Result<PathBuf> {
    build_with("--bin=pullet", &["--profile", profile])
}

/// Builds one program of pullet's package, `--bin=NAME` or `--example=NAME`, with these options and gives the path of the
/// binary.
pub fn build_with(program: &str, options: &[&str]) -> Result<PathBuf> {
    let mut command = command(&["build", "--quiet", "--package=pullet", "--message-format=json-render-diagnostics"]);
    command.arg(program).args(options);
    executable(&shell::read(&mut command)?, program.split('=').next_back().unwrap_or_default())
}

/// The executable of a build's messages whose name begins so. Theirs come in any order.
pub fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let named = |path: &&str| path.rsplit('/').next().is_some_and(|file| file.starts_with(name));
    let binary = messages.lines().filter_map(|line| text_field(line, "executable")).find(named);
    binary.map(PathBuf::from).ok_or_else(|| format!("cargo names no executable {name}"))
}

/// Builds the static pullet, where its target is installed.
pub fn build_static(options: &[&str]) -> Result<Option<PathBuf>> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    let sysroot = shell::read(shell::program("rustc").args(["--print", "sysroot"]))?;
    match Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).exists() {
        false => Ok(None),
        true => build_with("--bin=pullet", &[&["--profile=release", "--target", TARGET], options].concat()).map(Some),
    }
}

/// A path below the workspace as one would type it there.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The value of a field of text in cargo's compact JSON. Paths with quotes in them are nobody's.
fn text_field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = json.split_once(&format!("\"{name}\":\""))?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_text() {
        let json = r#"{"executable":null,"executable":"/t/release/pullet","x":"y"}"#;
        assert_eq!(text_field(json, "executable"), Some("/t/release/pullet"));
        assert_eq!(text_field(r#"{"executable":null}"#, "executable"), None);
    }

    #[test]
    fn an_executable_is_found_by_its_name() {
        let messages = "{\"executable\":\"/t/it-1\"}\n{\"executable\":null}\n{\"executable\":\"/t/pullet\"}";
        assert_eq!(executable(messages, "pullet"), Ok("/t/pullet".into()));
        assert_eq!(executable(messages, "it-"), Ok("/t/it-1".into()));
        assert!(executable(messages, "t").is_err());
    }
}
