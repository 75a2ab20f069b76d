//! `pullet login`: checks credentials with a registry and stores them.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use pullet::{Cancel, Client, Credentials, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{RegistryOptions, TRUST, authfile};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::terminal::HiddenInput;
use crate::{interrupt, sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "login",
    arguments: "[HOST[:PORT]]",
    summary: "check credentials with a registry and store them",
    about: "Check credentials with a registry and, if it accepts them, store them: with the credential helper that the file \
            names for the registry, otherwise in the file itself, unencrypted and readable by its owner only. Docker, podman \
            and skopeo read the same file. HOST is docker.io by default. Asks at the terminal for what is not given. With \
            -q, print nothing.",
    definitions: &[],
    groups: &[&OPTIONS, &LOGIN_FILE, &TRUST],
    notes: &[],
    run,
};

#[derive(Default)]
struct Options {
    user: Option<String>,
    password_stdin: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value("-u, --username USER", "the user name", |options, value| {
            options.user = Some(value.text()?.to_owned());
            Ok(())
        }),
        Opt::flag("--password-stdin", "read the password from standard input", |options| options.password_stdin = true),
    ],
};

/// Where `login` and `logout` change credentials.
pub(super) static LOGIN_FILE: Group<RegistryOptions> = Group {
    heading: "Registry",
    options: &[authfile(
        "the file that keeps credentials (default: $REGISTRY_AUTH_FILE, otherwise $DOCKER_CONFIG/config.json, otherwise \
         ~/.docker/config.json)",
    )],
};

/// The most bytes of a password on standard input.
const PASSWORD_LIMIT: u64 = 16 << 10;

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { user, password_stdin } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let host = host(line)?;
    let credentials = match (user, password_stdin) {
        (Some(user), true) => Credentials::new(user, read_password(line, &common.cancel)?)?,
        (None, true) => return Err(line.misused("--password-stdin needs a user: -u USER")),
        (user, false) => ask_for_credentials(user, line, &common.cancel)?,
    };
    let client = registry.client()?;
    confine(&client, host, reporter);
    client.login(host, &credentials, reporter)?;
    if common.is_quiet { Ok(()) } else { text::print("Login Succeeded\n") }
}

/// The registry to log in to or out of.
pub(super) fn host(line: &CommandLine) -> Result<&str, Failure> {
    match line.optional_operand()? {
        None => Ok("docker.io"),
        Some(word) => word.to_str().ok_or_else(|| line.misused(format!("HOST {word:?} is not UTF-8"))),
    }
}

/// Enters the sandbox, unless a credential helper runs, because it writes its own files. An error of the file is reported
/// when the file is changed.
fn confine(client: &Client, host: &str, reporter: &Reporter) {
    match client.login_file(host) {
        Ok(Some(file)) => sandbox::enter(&Sandbox::new().output(&file), reporter),
        Ok(None) => reporter.note_verbosely("no sandbox: a credential helper keeps the credentials"),
        Err(_) => {}
    }
}

/// Reads the password from standard input, up to the end of the input.
fn read_password(line: &CommandLine, cancel: &Cancel) -> Result<String, Failure> {
    let mut password = String::new();
    let read = || io::stdin().take(PASSWORD_LIMIT + 1).read_to_string(&mut password);
    let read = interrupt::uninterruptible(cancel, read)?;
    read.map_err(|e| unreadable(line, &e))?;
    if password.len() as u64 > PASSWORD_LIMIT {
        let failure = Failure::usage(format!("standard input has more than {PASSWORD_LIMIT} bytes"));
        return Err(failure.hint("only the password is expected there"));
    }
    let password = password.strip_suffix('\n').map_or(password.as_str(), |line| line.trim_end_matches('\r'));
    if password.is_empty() {
        return Err(line.misused("the password on standard input is empty"));
    }
    Ok(password.to_owned())
}

/// Asks at the terminal for the password, and for the user if none was given.
fn ask_for_credentials(user: Option<String>, line: &CommandLine, cancel: &Cancel) -> Result<Credentials, Failure> {
    if !io::stdin().is_terminal() {
        let failure = Failure::usage("cannot ask for a password: standard input is not a terminal");
        return Err(failure.hint("give the password on standard input: pullet login -u USER --password-stdin HOST"));
    }
    let user = match user {
        Some(user) => user,
        None => {
            prompt("Username: ");
            let mut input = String::new();
            let read = interrupt::uninterruptible(cancel, || io::stdin().read_line(&mut input))?;
            read.map_err(|e| unreadable(line, &e))?;
            input.trim().to_owned()
        }
    };
    let hidden = HiddenInput::begin()?;
    prompt("Password: ");
    let password = hidden.read_line(cancel);
    // The line break was not shown either.
    prompt("\n");
    Ok(Credentials::new(user, password?)?)
}

/// Writes to standard error, because standard output is for results.
fn prompt(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn unreadable(line: &CommandLine, error: &io::Error) -> Failure {
    line.misused(format!("read standard input: {error}"))
}
