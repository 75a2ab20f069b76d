//! `pullet login` and `pullet logout`: credentials that are tried, kept and removed, in Docker's words.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use pullet::{Cancel, Client, Credentials, HiddenInput, Sandbox};

use crate::args::{Common, Login, Logout};
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

/// Bytes of a password on standard input.
const PASSWORD_LIMIT: u64 = 16 << 10;

/// Logs in to one registry.
pub(crate) fn run(common: &Common, login: Login, reporter: &Reporter) -> Result<(), Failure> {
    let credentials = match login.password_stdin {
        true => Credentials::new(login.user.unwrap_or_default(), password_on_stdin(&common.cancel)?)?,
        false => asked(login.user, &common.cancel)?,
    };
    let client = pull::client(&login.registry)?;
    confine(&client, &login.host, reporter);
    client.login(&login.host, &credentials, reporter)?;
    if common.is_quiet { Ok(()) } else { text::print("Login Succeeded\n") }
}

/// Logs out of one registry.
pub(crate) fn out(common: &Common, logout: &Logout) -> Result<(), Failure> {
    let host = &logout.host;
    let line = match pull::client(&logout.registry)?.logout(host)? {
        true => format!("Removing login credentials for {host}\n"),
        false => format!("Not logged in to {host}\n"),
    };
    if common.is_quiet { Ok(()) } else { text::print(line) }
}

/// A credential helper writes files of its own; then nothing is given up. What is wrong with the file is told when it is
/// changed.
fn confine(client: &Client, host: &str, reporter: &Reporter) {
    match client.login_file(host) {
        Ok(Some(file)) => sandbox::enter(&Sandbox::new().target(&file), reporter),
        Ok(None) => reporter.tell_verbosely("no sandbox: a credential helper keeps the credentials"),
        Err(_) => {}
    }
}

fn password_on_stdin(cancel: &Cancel) -> Result<String, Failure> {
    let mut password = String::new();
    let read = cancel.unattended(|| io::stdin().take(PASSWORD_LIMIT + 1).read_to_string(&mut password))?;
    read.map_err(unreadable)?;
    if password.len() as u64 > PASSWORD_LIMIT {
        let hint = String::from("the password alone is expected there");
        return Err(Failure::Usage(format!("standard input has more than {PASSWORD_LIMIT} bytes"), hint));
    }
    let password = password.strip_suffix('\n').map_or(password.as_str(), |line| line.trim_end_matches('\r'));
    match password {
        "" => Err(Failure::Usage("the password on standard input is empty".to_owned(), see_help())),
        password => Ok(password.to_owned()),
    }
}

/// Asks at the terminal for what was not given.
fn asked(user: Option<String>, cancel: &Cancel) -> Result<Credentials, Failure> {
    if !io::stdin().is_terminal() {
        let hint = "give the password on standard input: pullet login -u USER --password-stdin HOST";
        return Err(Failure::Usage("cannot ask for a password: standard input is no terminal".to_owned(), hint.into()));
    }
    let user = match user {
        Some(user) => user,
        None => {
            ask("Username: ");
            let mut line = String::new();
            cancel.unattended(|| io::stdin().read_line(&mut line))?.map_err(unreadable)?;
            line.trim().to_owned()
        }
    };
    let hidden = HiddenInput::begin()?;
    ask("Password: ");
    let password = hidden.line(cancel);
    // The end of the line was not shown either.
    ask("\n");
    Ok(Credentials::new(user, password?)?)
}

/// A question stands on standard error, as all that is no result.
fn ask(question: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Usage(format!("read standard input: {error}"), see_help())
}

fn see_help() -> String {
    "see pullet login --help".to_owned()
}
