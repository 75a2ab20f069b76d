//! Runs other programs. Their output is shown only if they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Result;

/// A command by the program's name. Also searches the sbin folders, which an ordinary user's `PATH` lacks.
pub fn program(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// The path of a program, or `None` if it is not installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(administrators);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| is_executable(path)))
}

/// Runs the command and returns its standard output.
pub fn read(command: &mut Command) -> Result<String> {
    let output = try_output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(failure(command, output.status, text.trim_end()))
}

/// Runs the command and ignores its output.
pub fn run(command: &mut Command) -> Result {
    read(command).map(drop)
}

/// Runs the command with the standard output and error of this process.
pub fn watch(command: &mut Command) -> Result {
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|e| format!("start {}: {e}", words(command)))?;
    if status.success() { Ok(()) } else { Err(failure(command, status, "")) }
}

/// True if the command can be started and succeeds.
pub fn succeeds(command: &mut Command) -> bool {
    try_output(command).is_ok_and(|output| output.status.success())
}

/// Runs the command and returns its output, also if it fails.
pub fn try_output(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|e| format!("start {}: {e}", words(command)))
}

/// The command as typed in a shell.
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

fn failure(command: &Command, status: std::process::ExitStatus, output: &str) -> String {
    let gap = if output.is_empty() { "" } else { "\n" };
    format!("{}: {status}{gap}{output}", words(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_words() {
        let mut command = Command::new("tar");
        command.args(["--sort=name", "a b", "it's", ""]);
        assert_eq!(words(&command), r"tar --sort=name 'a b' 'it'\''s' ''");
    }

    #[test]
    fn a_failure_includes_the_output() {
        let error = read(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let error = error.unwrap_err();
        assert!(error.contains("exit status: 3\nout\nerr"), "{error}");
    }
}
