//! Reads an archive from a file or from standard input, and stops at a signal while it waits for a pipe.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use pullet::{Cancel, ErrorKind};
use rustix::event::PollFlags;

use crate::exit::Failure;
use crate::interrupt::uninterruptible;
use crate::ready::wait;

/// An open archive.
pub(crate) struct Input {
    file: File,
    cancel: Cancel,
}

impl Input {
    /// Opens a file, or standard input if no file is named. Refuses a terminal.
    pub(crate) fn open(path: Option<&OsStr>, cancel: &Cancel) -> Result<Self, Failure> {
        let file = match path {
            // A FIFO blocks until another process opens it for writing.
            Some(path) => uninterruptible(cancel, || File::open(path))?.map_err(|e| unreadable(path, &e))?,
            None if io::stdin().is_terminal() => {
                return Err(
                    Failure::usage("the archive cannot be read from a terminal").hint("name a file, or use a pipe")
                );
            }
            None => {
                let duplicate = rustix::io::dup(io::stdin());
                File::from(duplicate.map_err(|e| unreadable(OsStr::new("standard input"), &e.into()))?)
            }
        };
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let path = path.unwrap_or_default().display();
            return Err(Failure::new(ErrorKind::Disk, format!("read {path}: it is a folder")));
        }
        Ok(Self { file, cancel: cancel.clone() })
    }
}

impl Read for Input {
    /// The caller checks the cancel flag after an error.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !wait(&self.file, PollFlags::IN, &self.cancel)? {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buf)
    }
}

fn unreadable(path: &OsStr, error: &io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Disk };
    Failure::new(kind, format!("open {}: {error}", path.display()))
}
