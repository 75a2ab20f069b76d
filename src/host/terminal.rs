//! Reads a line from the terminal without echoing it. Signal keys (Ctrl-C) are read as ordinary keys meanwhile, so that a
//! signal cannot end the program while the echo is off.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// Maximum length of a line in bytes.
const LINE_LIMIT: usize = 4096;
/// Longest wait for a key before the cancel flag is checked again.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The terminal at standard input with its echo off. Dropping this turns the echo on again.
///
/// ```no_run
/// let hidden = pullet::HiddenInput::begin()?;
/// eprint!("Password: ");
/// let password = hidden.line(&pullet::Cancel::default())?;
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Debug)]
pub struct HiddenInput {
    saved: Termios,
}

impl HiddenInput {
    /// Turns the echo off. Fails with [`ErrorKind::Usage`] if standard input is not a terminal.
    pub fn begin() -> Result<Self> {
        let saved = tcgetattr(io::stdin())
            .map_err(|_| Error::new(ErrorKind::Usage, "read a line: standard input is not a terminal"))?;
        let mut hidden = saved.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        let failed = |e| Error::new(ErrorKind::Internal, format!("turn off the terminal's echo: {e}"));
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden).map_err(failed)?;
        Ok(Self { saved })
    }

    /// Reads a line. Fails with [`ErrorKind::Interrupted`] on Ctrl-C or when cancelled, and with [`ErrorKind::Usage`] at
    /// the end of the input.
    pub fn line(self, cancel: &Cancel) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match read_key(cancel)? {
                None => return Err(Error::new(ErrorKind::Usage, "read a line: the input ended")),
                Some(b'\r' | b'\n') => {
                    return String::from_utf8(line).map_err(|_| Error::new(ErrorKind::Usage, "read a line: not UTF-8"));
                }
                Some(key) => edit(&mut line, key)?,
            }
        }
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.saved);
    }
}

/// Reads one byte, or `None` at the end of the input. Checks the cancel flag while waiting. Does not use
/// `std::io::Stdin`, because it buffers: `poll` would then wait although bytes are in the buffer.
fn read_key(cancel: &Cancel) -> Result<Option<u8>> {
    let failed = |e: Errno| Error::disk("read", "standard input", e);
    let mut key = [0];
    loop {
        cancel.check()?;
        match poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&POLL_INTERVAL)) {
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

/// Applies a key to the line as the terminal's own line editing does: Ctrl-C, Ctrl-D, erase, Ctrl-U.
fn edit(line: &mut Vec<u8>, key: u8) -> Result<()> {
    match key {
        0x03 => return Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        0x04 => return Err(Error::new(ErrorKind::Usage, "read a line: the input ended")),
        0x08 | 0x7f => {
            // Remove the whole UTF-8 character.
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
            let edited: Result<()> = keys.bytes().try_for_each(|key| edit(&mut line, key));
            edited.map(|()| String::from_utf8_lossy(&line).into_owned())
        };
        assert_eq!(typed("abc").ok().as_deref(), Some("abc"));
        assert_eq!(typed("a\u{e4}\u{7f}b\u{8}\u{7f}\u{7f}c").ok().as_deref(), Some("c"));
        assert_eq!(typed("abc\u{15}d").ok().as_deref(), Some("d"));
        assert!(typed("a\u{3}").is_err_and(|e| e.kind() == ErrorKind::Interrupted));
        assert!(typed("a\u{4}").is_err_and(|e| e.kind() == ErrorKind::Usage));
        assert!(typed(&"x".repeat(LINE_LIMIT + 1)).is_err());
    }
}
