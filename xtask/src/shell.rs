//! Runs other programs: silent while all goes well, and telling everything they said when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Result;

/// A program by name, looked for in the folders of administrators too, which an ordinary user's `PATH` lacks.
pub fn program(name: &str) -> Command {
    match find(name) {
        Some(path) => Command::new(path),
        None => Command::new(name),
    }
}

/// The path of a program, or nothing where it is not installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(administrators);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| is_executable(path)))
}

/// Runs the command and gives what it wrote to standard output.
pub fn read(command: &mut Command) -> Result<String> {
    let output = try_output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(failure(command, output.status, said.trim_end()))
}

/// Runs the command for its effect.
pub fn run(command: &mut Command) -> Result {
    read(command).map(drop)
}

/// Runs the command with its output going where ours goes.
pub fn watch(command: &mut Command) -> Result {
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|e| format!("start {}: {e}", words(command)))?;
    if status.success() { Ok(()) } else { Err(failure(command, status, "")) }
}

/// Whether the command can be run and succeeds; for asking what this machine allows.
pub fn succeeds(command: &mut Command) -> bool {
    try_output(command).is_ok_and(|output| output.status.success())
}

/// Runs the command to its end, whatever that is.
pub fn try_output(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|e| format!("start {}: {e}", words(command)))
}

/// The command as one would type it.
pub fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|word| quoted(&word.to_string_lossy()));
    let program = quoted(&command.get_program().to_string_lossy());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn failure(command: &Command, status: std::process::ExitStatus, said: &str) -> String {
    let gap = if said.is_empty() { "" } else { "\n" };
    format!("{}: {status}{gap}{said}", words(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("tar");
        command.args(["--sort=name", "a b", "it's", ""]);
        assert_eq!(words(&command), r"tar --sort=name 'a b' 'it'\''s' ''");
    }

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let error = read(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let error = error.unwrap_err();
        assert!(error.contains("exit status: 3\nout\nerr"), "{error}");
    }
}
