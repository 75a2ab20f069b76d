//! The workspace and cargo: paths, and builds of pullet.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, shell};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let compiled = || env!("CARGO_MANIFEST_DIR").into();
    let xtask: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(compiled, PathBuf::from);
    xtask.parent().unwrap_or(Path::new(".")).to_owned()
}

/// The cargo that runs xtask, in the folder of the workspace.
pub fn command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    // cargo has set this for xtask. Build scripts that depend on it would run again, and with them much of the build.
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(root()).args(arguments);
    command
}

/// The target folder, which the environment or a configuration file may have moved.
pub fn target() -> Result<PathBuf> {
    let metadata = shell::read(&mut command(&["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let folder = text_field(&metadata, "target_directory");
    folder.map(PathBuf::from).ok_or_else(|| "cargo metadata does not name the target directory".into())
}

/// Builds pullet in this profile and returns the path of the binary.
pub fn build(profile: &str) -> Result<PathBuf> {
    build_with("--bin=pullet", &["--profile", profile])
}

/// Builds a program of pullet's package, `--bin=NAME` or `--example=NAME`, with these options. Returns the path of the
/// binary.
pub fn build_with(program: &str, options: &[&str]) -> Result<PathBuf> {
    let mut command = command(&["build", "--quiet", "--package=pullet", "--message-format=json-render-diagnostics"]);
    command.arg(program).args(options);
    executable(&shell::read(&mut command)?, program.split('=').next_back().unwrap_or_default())
}

/// The executable in a build's messages whose name has this prefix. Messages come in any order.
pub fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let named = |path: &&str| path.rsplit('/').next().is_some_and(|file| file.starts_with(name));
    let binary = messages.lines().filter_map(|line| text_field(line, "executable")).find(named);
    binary.map(PathBuf::from).ok_or_else(|| format!("cargo built no executable {name}"))
}

/// Builds a static pullet, or returns `None` if the target is not installed.
pub fn build_static(options: &[&str]) -> Result<Option<PathBuf>> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    let sysroot = shell::read(shell::program("rustc").args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).exists() {
        return Ok(None);
    }
    build_with("--bin=pullet", &[&["--profile=release", "--target", TARGET], options].concat()).map(Some)
}

/// The path relative to the workspace, for messages.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The value of a string field in cargo's compact JSON. Paths with quotes are not supported.
fn text_field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = json.split_once(&format!("\"{name}\":\""))?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_string_field() {
        let json = r#"{"executable":null,"executable":"/t/release/pullet","x":"y"}"#;
        assert_eq!(text_field(json, "executable"), Some("/t/release/pullet"));
        assert_eq!(text_field(r#"{"executable":null}"#, "executable"), None);
    }

    #[test]
    fn finds_an_executable_by_name() {
        let messages = "{\"executable\":\"/t/it-1\"}\n{\"executable\":null}\n{\"executable\":\"/t/pullet\"}";
        assert_eq!(executable(messages, "pullet"), Ok("/t/pullet".into()));
        assert_eq!(executable(messages, "it-"), Ok("/t/it-1".into()));
        assert!(executable(messages, "t").is_err());
    }
}
