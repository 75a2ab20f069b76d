//! A line typed at the terminal without being shown. Signals of the keyboard are read as keys meanwhile, so that no
//! interruption leaves the terminal without its echo.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a line; nobody types a longer password.
const LINE_LIMIT: usize = 4096;
/// The longest wait for a key in one piece.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A terminal at standard input that shows nothing of what is typed, until this is dropped.
///
/// ```no_run
/// let hidden = pullet::HiddenInput::begin()?;
/// eprint!("Password: ");
/// let password = hidden.line(&pullet::Cancel::default())?;
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Debug)]
pub struct HiddenInput {
    before: Termios,
}

impl HiddenInput {
    /// Turns the echo off. Fails with [`ErrorKind::Usage`] if standard input is no terminal.
    pub fn begin() -> Result<Self> {
        let before = tcgetattr(io::stdin())
            .map_err(|_| Error::new(ErrorKind::Usage, "read a line: standard input is no terminal"))?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        let failed = |e| Error::new(ErrorKind::Internal, format!("turn the terminal's echo off: {e}"));
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden).map_err(failed)?;
        Ok(Self { before })
    }

    /// Reads up to the end of the line. Fails with [`ErrorKind::Interrupted`] at Ctrl-C or when it is cancelled, and
    /// with [`ErrorKind::Usage`] at the end of the input.
    pub fn line(self, cancel: &Cancel) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match key(cancel)? {
                None => return Err(Error::new(ErrorKind::Usage, "read a line: the input ended")),
                Some(b'\r' | b'\n') => {
                    return String::from_utf8(line).map_err(|_| Error::new(ErrorKind::Usage, "read a line: not UTF-8"));
                }
                Some(key) => take(key, &mut line)?,
            }
        }
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The next key, waited for in pieces: a signal must find the way out, for the echo is off. Read past `std`, which takes
/// more than it gives, and then nothing would come to be waited for.
fn key(cancel: &Cancel) -> Result<Option<u8>> {
    let failed = |e: Errno| Error::disk("read", "standard input", e);
    let mut key = [0];
    loop {
        cancel.check()?;
        match poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(failed(e)),
        }
        match rustix::io::read(io::stdin(), &mut key) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(key.first().copied()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// What the terminal's own line editing would do with a key: Ctrl-C, Ctrl-D, erase, Ctrl-U.
fn take(key: u8, line: &mut Vec<u8>) -> Result<()> {
    match key {
        0x03 => return Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        0x04 => return Err(Error::new(ErrorKind::Usage, "read a line: the input ended")),
        0x08 | 0x7f => {
            // A character may have more bytes than one.
            while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        }
        0x15 => line.clear(),
        _ if line.len() >= LINE_LIMIT => {
            return Err(Error::new(ErrorKind::Usage, format!("read a line: more than {LINE_LIMIT} bytes")));
        }
        key => line.push(key),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_a_line_as_a_terminal_does() {
        let typed = |keys: &str| {
            let mut line = Vec::new();
            let taken: Result<()> = keys.bytes().try_for_each(|key| take(key, &mut line));
            taken.map(|()| String::from_utf8_lossy(&line).into_owned())
        };
        assert_eq!(typed("abc").ok().as_deref(), Some("abc"));
        assert_eq!(typed("a\u{e4}\u{7f}b\u{8}\u{7f}\u{7f}c").ok().as_deref(), Some("c"));
        assert_eq!(typed("abc\u{15}d").ok().as_deref(), Some("d"));
        assert!(typed("a\u{3}").is_err_and(|e| e.kind() == ErrorKind::Interrupted));
        assert!(typed("a\u{4}").is_err_and(|e| e.kind() == ErrorKind::Usage));
        assert!(typed(&"x".repeat(LINE_LIMIT + 1)).is_err());
    }
}
