//! Credential helpers: programs that store credentials (docker-credential-helpers). The verb is the argument, the request
//! is on standard input and the response on standard output. Output and run time are bounded. Errors contain no secret.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::host::environment::Environment;
use crate::oci::credentials::{Credentials, Secret};
use crate::oci::json;

/// Longest run time of a helper. Some ask a cloud service, some ask the user.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for output before the exit status and the cancel flag are checked again.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Maximum size of the output in bytes; tokens have a few thousand.
const OUTPUT_LIMIT: usize = 64 << 10;
/// Maximum size of the input in bytes. The buffer of a pipe is larger, so writing the input never blocks.
const INPUT_LIMIT: usize = 32 << 10;
/// Characters of a helper's error message that are shown.
const MESSAGE_LIMIT: usize = 200;
/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";
/// Part of the message of all helpers for missing credentials ("credentials not found in native keychain").
const NOT_FOUND: &str = "credentials not found";

/// A helper program, found on `$PATH`.
#[derive(Debug)]
pub(super) struct CredentialHelper {
    name: String,
    path: PathBuf,
    cancel: Cancel,
}

/// The output and exit status of a helper.
struct HelperOutput {
    status: ExitStatus,
    stdout: Vec<u8>,
}

impl CredentialHelper {
    /// Finds the program `docker-credential-NAME`. Names with other characters than those of a word are rejected, because
    /// they could be paths. Relative folders of `$PATH` are skipped, because anybody may be able to write there.
    pub(super) fn find_program(name: &str, cancel: &Cancel) -> Result<Self, String> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.starts_with(['-', '.']) || name.is_empty() || !name.bytes().all(is_word) {
            return Err(format!("credential helper \"{name}\": not a plain word"));
        }
        let name = format!("docker-credential-{name}");
        let folders = Environment::of_process().variable("PATH").unwrap_or_default();
        for folder in std::env::split_paths(&folders).filter(|folder| folder.is_absolute()) {
            let path = folder.join(&name);
            if is_program(&path) {
                return Ok(Self { name, path, cancel: cancel.clone() });
            }
        }
        Err(format!("{name}: not found on PATH"))
    }

    /// Returns the credentials for a server, or `None` if the helper has none.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, String> {
        let output = self.run("get", server)?;
        if output.status.success() {
            return parse(&output.stdout).map_err(|what| format!("{}: {what}", self.name));
        }
        if output.is_not_found() {
            return Ok(None);
        }
        Err(self.failure("get", &output))
    }

    /// Stores credentials for a server.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), String> {
        let (user, secret) = match credentials.secret() {
            Secret::Password(password) => (credentials.user(), password),
            Secret::IdentityToken(token) => (TOKEN_USER, token),
            Secret::RegistryToken(_) => return Err(format!("{}: cannot store registry tokens", self.name)),
        };
        let input = json!({ "ServerURL": server, "Username": user, "Secret": secret }).to_string();
        if input.len() > INPUT_LIMIT {
            return Err(format!("{}: the credentials have more than {INPUT_LIMIT} bytes", self.name));
        }
        let output = self.run("store", &input)?;
        if output.status.success() { Ok(()) } else { Err(self.failure("store", &output)) }
    }

    /// Erases the credentials for a server. Returns true if there were any.
    pub(super) fn erase(&self, server: &str) -> Result<bool, String> {
        let output = self.run("erase", server)?;
        if output.status.success() {
            return Ok(true);
        }
        if output.is_not_found() {
            return Ok(false);
        }
        Err(self.failure("erase", &output))
    }

    fn run(&self, verb: &str, input: &str) -> Result<HelperOutput, String> {
        let mut command = Command::new(&self.path);
        run(command.arg(verb), input, TIMEOUT, &self.cancel).map_err(|what| format!("{}: {what}", self.name))
    }

    /// Helpers print their error message on standard output. It is not shown if it may be JSON with a secret.
    fn failure(&self, verb: &str, output: &HelperOutput) -> String {
        let text = String::from_utf8_lossy(&output.stdout);
        let first_line = text.trim().lines().next().unwrap_or_default();
        let message: String = if first_line.is_empty() || text.contains(['{', '"']) {
            "no error message".to_owned()
        } else {
            first_line.chars().take(MESSAGE_LIMIT).collect()
        };
        format!("{} {verb}: {message} ({})", self.name, output.status)
    }
}

impl HelperOutput {
    fn is_not_found(&self) -> bool {
        String::from_utf8_lossy(&self.stdout).to_ascii_lowercase().contains(NOT_FOUND)
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Runs a helper. Kills it at the timeout, when cancelled, or if it prints too much.
fn run(command: &mut Command, input: &str, timeout: Duration, cancel: &Cancel) -> Result<HelperOutput, String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("run: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Does not block, because the input has at most INPUT_LIMIT bytes. A helper may exit without reading it.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = read_output(&mut child, timeout, cancel);
    if output.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    output
}

/// Reads the output until the helper ends. Does not wait for the end of the output, because a background process may have
/// inherited it. The pipe is non-blocking, so that this thread can also check the exit status.
fn read_output(child: &mut Child, timeout: Duration, cancel: &Cancel) -> Result<HelperOutput, String> {
    let deadline = Instant::now() + timeout;
    let mut pipe = child.stdout.take();
    if let Some(pipe) = &pipe {
        let flags = fcntl_getfl(pipe).and_then(|flags| fcntl_setfl(pipe, flags | OFlags::NONBLOCK));
        flags.map_err(|e| format!("read the output: {e}"))?;
    }
    let mut stdout = Vec::new();
    loop {
        // Check the status before reading: then everything that the helper printed is read after its end.
        let status = child.try_wait().map_err(|e| format!("wait for the end: {e}"))?;
        if let Some(open) = &mut pipe
            && matches!(read_available(open, &mut stdout), Ok(PipeState::Closed) | Err(_))
        {
            pipe = None;
        }
        if stdout.len() > OUTPUT_LIMIT {
            return Err(format!("more than {OUTPUT_LIMIT} bytes of output"));
        }
        if let Some(status) = status {
            return Ok(HelperOutput { status, stdout });
        }
        if Instant::now() >= deadline {
            return Err(format!("did not end within {} s", timeout.as_secs()));
        }
        cancel.check().map_err(|e| e.to_string())?;
        wait_for_output(pipe.as_ref());
    }
}

enum PipeState {
    Open,
    Closed,
}

/// Reads what is available without blocking. Stops soon after the limit is exceeded.
fn read_available(pipe: &mut ChildStdout, stdout: &mut Vec<u8>) -> io::Result<PipeState> {
    let mut buffer = [0; 4096];
    while stdout.len() <= OUTPUT_LIMIT {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(PipeState::Closed),
            Ok(count) => stdout.extend(buffer.iter().take(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(PipeState::Open),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(PipeState::Open)
}

/// Waits until there is more to read, for at most [`POLL_INTERVAL`].
fn wait_for_output(pipe: Option<&ChildStdout>) {
    let mut fds: Vec<PollFd<'_>> = pipe.iter().map(|pipe| PollFd::new(*pipe, PollFlags::IN)).collect();
    // The result does not matter: the caller checks everything again.
    let _ = poll(&mut fds, Some(&POLL_INTERVAL));
}

/// Parses `{"ServerURL":…,"Username":…,"Secret":…}`. Ignores what follows the JSON, as Docker does: some helpers print
/// warnings there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Credentials>, String> {
    let malformed = || "malformed output".to_owned();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Ok(Value::Object(members)) = Value::deserialize(&mut deserializer) else { return Err(malformed()) };
    // A missing member counts as empty; one that is not a string is malformed.
    let member = |name: &str| match json::member(&members, name) {
        Some(value) => value.as_str().ok_or_else(malformed),
        None => Ok(""),
    };
    let credentials = match (member("Username")?, member("Secret")?) {
        ("", "") => return Ok(None),
        (TOKEN_USER, token) => Credentials::identity_token("", token),
        (user, password) => Credentials::new(user, password),
    };
    credentials.map(Some).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script as a helper. Returns whether it succeeded, and its output.
    fn run_script(script: &str, timeout: Duration) -> Result<(bool, String), String> {
        let output = run(Command::new("/bin/sh").args(["-c", script]), "r.io", timeout, &Cancel::default())?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    #[test]
    fn runs_a_program_with_input_and_output() {
        assert_eq!(run_script("cat; exit 1", TIMEOUT), Ok((false, "r.io".to_owned())));
        assert_eq!(run_script("true", TIMEOUT), Ok((true, String::new())));
        let long = run_script("head -c 65536 /dev/zero | tr '\\0' x", TIMEOUT);
        assert_eq!(long.map(|(_, text)| text.len()), Ok(OUTPUT_LIMIT));
    }

    #[test]
    fn kills_a_program_that_prints_too_much_or_never_ends() {
        assert_eq!(run_script("yes", TIMEOUT), Err("more than 65536 bytes of output".to_owned()));
        assert_eq!(run_script("exec sleep 600", Duration::ZERO), Err("did not end within 0 s".to_owned()));
        assert_eq!(run_script("exec sleep 600 >&-", Duration::ZERO), Err("did not end within 0 s".to_owned()));
    }

    #[test]
    fn rejects_names_that_are_not_plain_words() {
        for bad in ["", "../x", "/bin/sh", "a b", "a/b", "-x", ".x", "x;y", "ä", "x\0"] {
            let found = CredentialHelper::find_program(bad, &Cancel::default());
            assert!(found.is_err_and(|e| e.contains("plain word")), "{bad}");
        }
    }

    #[test]
    fn parses_output_as_go_does() {
        let check = |text: &str, expected: Option<&str>| {
            let found = parse(text.as_bytes());
            let found = found.map(|found| found.map(|found| (found.user().to_owned(), found.encoded())));
            let shown = found.map(|found| match found {
                Some((user, Some(_))) => format!("password of {user}"),
                Some((user, None)) => format!("token{user}"),
                None => "none".to_owned(),
            });
            assert!(!shown.as_ref().is_err_and(|e| e.contains("s3cret")), "{shown:?}");
            assert_eq!(shown.ok().as_deref(), expected, "{text}");
        };
        check(r#"{"ServerURL":"r.io","Username":"u","Secret":"p"}"#, Some("password of u"));
        check(r#"{"serverurl":"r.io","username":"u","secret":"p","more":1}"#, Some("password of u"));
        check(r#"{"Username":"<token>","Secret":"t"}"#, Some("token"));
        check(r#"{"Username":"","Secret":""}"#, Some("none"));
        check("{}", Some("none"));
        check(r#"{"Username":null,"Secret":null}"#, Some("none"));
        check("{\"Username\":\"u\",\"Secret\":\"p\"}\nwarning: a new version is available\n", Some("password of u"));
        check(r#"{"Username":"u","Secret":"p"}{"Username":"x","Secret":"y"}"#, Some("password of u"));
        check(r#"warning {"Username":"u","Secret":"s3cret"}"#, None);
        for bad in
            ["", "s3cret", r#""s3cret""#, "[]", r#"{"Username":"s3cret","Secret":7}"#, r#"{"Username":"<token>"}"#]
        {
            check(bad, None);
        }
        check(r#"{"Username":"","Secret":"s3cret"}"#, None);
    }
}
