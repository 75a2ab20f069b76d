//! Content of any size and names of files in images, on standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};

use pullet::{Cancel, ErrorKind, Escaped};
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::exit::Failure;
use crate::ready::{PIPE_BUFFER, wait};

/// Standard output for content of any size. It stops at a signal while it waits for the reader of a pipe.
struct Output<'a> {
    file: File,
    cancel: &'a Cancel,
    /// True once the reader has closed it.
    is_closed: bool,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !wait(&self.file, PollFlags::OUT, self.cancel)? || self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let written = self.file.write(bytes.get(..PIPE_BUFFER).unwrap_or(bytes));
        self.is_closed |= written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets `write` write to standard output. A reader that has closed it is not an error.
pub(crate) fn stream(
    cancel: &Cancel,
    write: impl FnOnce(&mut dyn Write) -> Result<(), pullet::Error>,
) -> Result<(), Failure> {
    let failed = |e: Errno| Failure::new(ErrorKind::Disk, format!("write to standard output: {}", io::Error::from(e)));
    let file = File::from(rustix::io::dup(io::stdout()).map_err(failed)?);
    let mut output = Output { file, cancel, is_closed: false };
    let written = write(&mut output);
    if output.is_closed {
        return Err(Failure::broken_pipe());
    }
    if cancel.is_cancelled() {
        return Err(Failure::new(ErrorKind::Interrupted, "interrupted"));
    }
    Ok(written?)
}

/// The path of a file in an image, for standard output: escaped on a terminal, because an image can have any names.
pub(crate) fn image_path(path: &[u8]) -> Vec<u8> {
    if io::stdout().is_terminal() {
        return Escaped(&String::from_utf8_lossy(path)).to_string().into_bytes();
    }
    path.to_vec()
}
