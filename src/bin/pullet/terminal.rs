//! Reads a line from the terminal without showing it. The keys for signals are read as characters meanwhile, so that no
//! interruption leaves the terminal without its echo.

use std::io;

use pullet::{Cancel, ErrorKind};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::Failure;
use crate::ready::wait;

/// The most bytes of a line. No password that is typed is longer.
const LINE_LIMIT: usize = 4096;

/// A terminal at standard input that does not show what is typed. Dropping this turns the echo on again.
pub(crate) struct HiddenInput {
    before: Termios,
}

impl HiddenInput {
    /// Turns the echo off.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let before = tcgetattr(io::stdin()).map_err(|_| failed("standard input is not a terminal"))?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)
            .map_err(|e| Failure::new(ErrorKind::Internal, format!("turn the terminal's echo off: {e}")))?;
        Ok(Self { before })
    }

    /// Reads up to the end of the line. Ctrl-C and `cancel` interrupt it.
    pub(crate) fn read_line(self, cancel: &Cancel) -> Result<String, Failure> {
        let mut line = Vec::new();
        loop {
            match read_key(cancel)? {
                None => return Err(failed("the input ended")),
                Some(b'\r' | b'\n') => return String::from_utf8(line).map_err(|_| failed("not UTF-8")),
                Some(key) => edit(key, &mut line)?,
            }
        }
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Waits for the next key, and checks `cancel` between short waits: the echo must be turned on again before the process
/// ends. Does not read through `std`, whose buffer would hold keys for which `poll` then waits in vain.
fn read_key(cancel: &Cancel) -> Result<Option<u8>, Failure> {
    let unreadable = |e: Errno| Failure::new(ErrorKind::Disk, format!("read standard input: {}", io::Error::from(e)));
    let mut key = [0];
    loop {
        if cancel.is_cancelled() || !wait(io::stdin(), PollFlags::IN, cancel).map_err(unreadable)? {
            return Err(interrupted());
        }
        match rustix::io::read(io::stdin(), &mut key) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(key.first().copied()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(unreadable(e)),
        }
    }
}

/// Does what the terminal's own line editing would do with a key: Ctrl-C, Ctrl-D, erase, Ctrl-U.
fn edit(key: u8, line: &mut Vec<u8>) -> Result<(), Failure> {
    match key {
        0x03 => return Err(interrupted()),
        0x04 => return Err(failed("the input ended")),
        0x08 | 0x7f => {
            // Removes all bytes of a UTF-8 character.
            while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        }
        0x15 => line.clear(),
        _ if line.len() >= LINE_LIMIT => return Err(failed(&format!("more than {LINE_LIMIT} bytes"))),
        key => line.push(key),
    }
    Ok(())
}

fn failed(cause: &str) -> Failure {
    Failure::usage(format!("read a line: {cause}"))
}

fn interrupted() -> Failure {
    Failure::new(ErrorKind::Interrupted, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_a_line_as_a_terminal_does() {
        let typed = |keys: &str| {
            let mut line = Vec::new();
            let edited: Result<(), Failure> = keys.bytes().try_for_each(|key| edit(key, &mut line));
            edited.map(|()| String::from_utf8_lossy(&line).into_owned()).map_err(|failure| failure.code())
        };
        assert_eq!(typed("abc").as_deref(), Ok("abc"));
        assert_eq!(typed("a\u{e4}\u{7f}b\u{8}\u{7f}\u{7f}c").as_deref(), Ok("c"));
        assert_eq!(typed("abc\u{15}d").as_deref(), Ok("d"));
        assert_eq!(typed("a\u{3}"), Err(130));
        assert_eq!(typed("a\u{4}"), Err(2));
        assert_eq!(typed(&"x".repeat(LINE_LIMIT + 1)), Err(2));
    }
}
