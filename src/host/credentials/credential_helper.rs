//! A program that keeps credentials (docker-credential-helpers): one verb as its argument, the question on its standard
//! input, the answer on its standard output. What it says is bounded in size and time; no secret of it is in any error.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::oci::credentials::{Credentials, Secret};

/// Longest wait for an answer: some ask a service in a cloud, some a person.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether the program has ended.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Bytes of an answer; tokens have a few thousand.
const ANSWER_LIMIT: usize = 64 << 10;
/// Bytes that a pipe takes at once, so that writing them never waits.
const QUESTION_LIMIT: usize = 32 << 10;
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What all of them say where there is nothing ("credentials not found in native keychain").
const NOT_FOUND: &str = "credentials not found";

/// A program, found on `$PATH`.
#[derive(Debug)]
pub(super) struct CredentialHelper {
    name: String,
    program: PathBuf,
    cancel: Cancel,
}

/// What a program said.
struct HelperOutput {
    status: ExitStatus,
    bytes: Vec<u8>,
}

impl CredentialHelper {
    /// The program `docker-credential-NAME`. A name that is no plain word could be a path to anything; a folder of
    /// `$PATH` that is relative could be anybody's.
    pub(super) fn named(name: &str, cancel: &Cancel) -> Result<Self, String> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.starts_with(['-', '.']) || name.is_empty() || !name.bytes().all(is_word) {
            return Err(format!("credential helper \"{name}\": not a plain word"));
        }
        let name = format!("docker-credential-{name}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        let found = folders.map(|folder| folder.join(&name)).find(is_program);
        found
            .map(|program| Self { program, name: name.clone(), cancel: cancel.clone() })
            .ok_or_else(|| format!("{name}: not found on PATH"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The credentials for a server, or none if it knows none.
    pub(super) fn find(&self, server: &str) -> Result<Option<Credentials>, String> {
        match self.run("get", server)? {
            answer if answer.status.success() => parse(&answer.bytes).map_err(|what| format!("{}: {what}", self.name)),
            answer if answer.says_not_found() => Ok(None),
            answer => Err(self.failure("get", &answer)),
        }
    }

    pub(super) fn keep(&self, server: &str, credentials: &Credentials) -> Result<(), String> {
        let (user, secret) = match credentials.secret() {
            Secret::Password(password) => (credentials.user(), password),
            Secret::IdentityToken(token) => (TOKEN_USER, token),
            Secret::RegistryToken(_) => return Err(format!("{}: it takes no registry tokens", self.name)),
        };
        let entry = json!({ "ServerURL": server, "Username": user, "Secret": secret });
        if entry.to_string().len() > QUESTION_LIMIT {
            return Err(format!("{}: more than {QUESTION_LIMIT} bytes of secret", self.name));
        }
        match self.run("store", &entry.to_string())? {
            answer if answer.status.success() => Ok(()),
            answer => Err(self.failure("store", &answer)),
        }
    }

    /// Whether there was something to erase.
    pub(super) fn forget(&self, server: &str) -> Result<bool, String> {
        match self.run("erase", server)? {
            answer if answer.status.success() => Ok(true),
            answer if answer.says_not_found() => Ok(false),
            answer => Err(self.failure("erase", &answer)),
        }
    }

    fn run(&self, verb: &str, question: &str) -> Result<HelperOutput, String> {
        ask(Command::new(&self.program).arg(verb), question, PATIENCE, &self.cancel)
            .map_err(|what| format!("{}: {what}", self.name))
    }

    /// Programs that fail say why on their standard output. What looks like an answer is not shown: it has the secret.
    fn failure(&self, verb: &str, answer: &HelperOutput) -> String {
        let text = String::from_utf8_lossy(&answer.bytes);
        let said = text.trim().lines().next().filter(|line| !text.contains(['{', '"']) && !line.is_empty());
        let said: String = said.unwrap_or("it says not why").chars().take(200).collect();
        format!("{} {verb}: {said} ({})", self.name, answer.status)
    }
}

impl HelperOutput {
    fn says_not_found(&self) -> bool {
        String::from_utf8_lossy(&self.bytes).to_ascii_lowercase().contains(NOT_FOUND)
    }
}

fn is_program(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Runs a program that must end in time. It is killed if it does not, or if it says too much.
fn ask(command: &mut Command, question: &str, patience: Duration, cancel: &Cancel) -> Result<HelperOutput, String> {
    let deadline = Instant::now() + patience;
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("run: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // At most QUESTION_LIMIT, so this does not block; a program that does not read has its reasons.
        let _ = stdin.write_all(question.as_bytes());
    }
    let answer = listen(&mut child, deadline, patience, cancel);
    if answer.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
}

/// Reads until the program has ended; whoever inherited its output need not end with it. One thread has to look at both,
/// so the pipe must not block.
fn listen(child: &mut Child, deadline: Instant, patience: Duration, cancel: &Cancel) -> Result<HelperOutput, String> {
    let mut stdout = child.stdout.take();
    if let Some(stdout) = &stdout {
        let flags = fcntl_getfl(stdout).and_then(|flags| fcntl_setfl(stdout, flags | OFlags::NONBLOCK));
        flags.map_err(|e| format!("read its answer: {e}"))?;
    }
    let mut bytes = Vec::new();
    loop {
        // In this order: what was said before the end is there after it.
        let ended = child.try_wait().map_err(|e| format!("wait for it: {e}"))?;
        if stdout.as_mut().is_some_and(|stdout| matches!(drain(stdout, &mut bytes), Ok(Drained::ToItsEnd) | Err(_))) {
            stdout = None;
        }
        match ended {
            _ if bytes.len() > ANSWER_LIMIT => return Err(format!("it says more than {ANSWER_LIMIT} bytes")),
            Some(status) => return Ok(HelperOutput { status, bytes }),
            None if Instant::now() >= deadline => return Err(format!("no answer within {} s", patience.as_secs())),
            None => cancel.check().map(|()| rest(stdout.as_ref())).map_err(|e| e.to_string())?,
        }
    }
}

enum Drained {
    ForNow,
    ToItsEnd,
}

/// Takes what there is, up to a little more than may be.
fn drain(stdout: &mut ChildStdout, bytes: &mut Vec<u8>) -> io::Result<Drained> {
    let mut buffer = [0; 4096];
    while bytes.len() <= ANSWER_LIMIT {
        match stdout.read(&mut buffer) {
            Ok(0) => return Ok(Drained::ToItsEnd),
            Ok(n) => bytes.extend(buffer.iter().take(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::ForNow),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Drained::ForNow)
}

/// Until there is more to read, or for a moment.
fn rest(stdout: Option<&ChildStdout>) {
    let mut fds: Vec<PollFd<'_>> = stdout.iter().map(|stdout| PollFd::new(*stdout, PollFlags::IN)).collect();
    // Whatever it says, the next thing is to look again.
    let _ = poll(&mut fds, Some(&LOOK));
}

/// `{"ServerURL":…,"Username":…,"Secret":…}`, in any case, as Go reads it.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Credentials>, String> {
    let malformed = || "malformed answer".to_owned();
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else { return Err(malformed()) };
    let member = |name: &str| {
        let found = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or(Some(""), |(_, value)| value.as_str())
    };
    let (user, secret) = member("Username").zip(member("Secret")).ok_or_else(malformed)?;
    let found = match (user, secret) {
        ("", "") => return Ok(None),
        (TOKEN_USER, token) => Credentials::identity_token("", token),
        (user, password) => Credentials::new(user, password),
    };
    found.map(Some).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Result<(bool, String), String> {
        let answer = ask(Command::new("/bin/sh").args(["-c", script]), "r.io", patience, &Cancel::default())?;
        Ok((answer.status.success(), String::from_utf8_lossy(&answer.bytes).into_owned()))
    }

    #[test]
    fn a_program_is_asked_and_heard() {
        assert_eq!(shell("cat; exit 1", PATIENCE), Ok((false, "r.io".to_owned())));
        assert_eq!(shell("true", PATIENCE), Ok((true, String::new())));
        let long = shell("head -c 65536 /dev/zero | tr '\\0' x", PATIENCE);
        assert_eq!(long.map(|(_, text)| text.len()), Ok(ANSWER_LIMIT));
    }

    #[test]
    fn one_that_says_too_much_or_never_ends_is_killed() {
        assert_eq!(shell("yes", PATIENCE), Err("it says more than 65536 bytes".to_owned()));
        assert_eq!(shell("exec sleep 600", Duration::ZERO), Err("no answer within 0 s".to_owned()));
        assert_eq!(shell("exec sleep 600 >&-", Duration::ZERO), Err("no answer within 0 s".to_owned()));
    }

    #[test]
    fn only_a_plain_word_names_a_program() {
        for bad in ["", "../x", "/bin/sh", "a b", "a/b", "-x", ".x", "x;y", "ä", "x\0"] {
            assert!(CredentialHelper::named(bad, &Cancel::default()).is_err_and(|e| e.contains("plain word")), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_read_as_go_reads_it() {
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
        for bad in
            ["", "s3cret", r#""s3cret""#, "[]", r#"{"Username":"s3cret","Secret":7}"#, r#"{"Username":"<token>"}"#]
        {
            check(bad, None);
        }
        check(r#"{"Username":"","Secret":"s3cret"}"#, None);
    }
}
