//! Where progress goes: standard error, or a descriptor that the parent process has opened.

use std::io::{self, Write as _};

#[cfg(feature = "manage")]
use pullet::Cancel;

/// The receiver of progress.
pub(super) enum Stream {
    Stderr,
    #[cfg(feature = "manage")]
    Descriptor(std::fs::File, Cancel),
    /// The reader has closed it.
    #[cfg(feature = "manage")]
    Closed,
}

impl Stream {
    /// Ignores errors, because there is nowhere to report them. A closed stream gets nothing more.
    pub(super) fn write(&mut self, text: &str) {
        match self {
            Self::Stderr => {
                let _ = io::stderr().lock().write_all(text.as_bytes());
            }
            #[cfg(feature = "manage")]
            Self::Descriptor(file, cancel) => {
                if descriptor::write(file, text.as_bytes(), cancel).is_err() {
                    *self = Self::Closed;
                }
            }
            #[cfg(feature = "manage")]
            Self::Closed => {}
        }
    }

    /// The width and height of the terminal, if it is one that has a size.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        let size = match self {
            Self::Stderr => rustix::termios::tcgetwinsize(io::stderr()),
            #[cfg(feature = "manage")]
            Self::Descriptor(file, _) => rustix::termios::tcgetwinsize(file),
            #[cfg(feature = "manage")]
            Self::Closed => return None,
        };
        size.ok().map(|size| (size.ws_col, size.ws_row)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
    }
}

#[cfg(feature = "manage")]
pub(super) mod descriptor {
    use std::fs::{self, File};
    use std::io::{self, Write as _};
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

    use pullet::{Cancel, ErrorKind};
    use rustix::event::PollFlags;
    use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    use super::Stream;
    use crate::exit::Failure;
    use crate::ready::{PIPE_BUFFER, wait};

    /// Opens a descriptor of this process for writing. Fails if it is not open or not writable.
    pub(in super::super) fn open_stream(number: u32, cancel: &Cancel) -> Result<Stream, Failure> {
        let unusable = |why: &str| Failure::usage(format!("--progress-fd {number}: {why}"));
        match duplicate(number) {
            Ok(Some(file)) => Ok(Stream::Descriptor(file.into(), cancel.clone())),
            Ok(None) => Ok(Stream::Closed),
            Err(Errno::BADF) => Err(unusable("the descriptor is not open")),
            Err(Errno::ACCESS) => Err(unusable("the descriptor is not open for writing")),
            Err(Errno::NOTSUP) => Err(unusable("this kernel or its sandbox allows no socket: use a pipe")),
            Err(e) => Err(Failure::new(ErrorKind::Disk, format!("--progress-fd {number}: {}", io::Error::from(e)))),
        }
    }

    /// Another descriptor for the same open file; `None` if it is a pipe without a reader. There is no safe function for
    /// dup(2) of a number, but one that copies a descriptor out of a process, which may be the own one.
    fn duplicate(number: u32) -> rustix::io::Result<Option<OwnedFd>> {
        let Ok(number) = i32::try_from(number) else { return Err(Errno::BADF) };
        let copy = |process: OwnedFd| {
            // If the number was free, `process` has it now.
            if process.as_raw_fd() == number {
                return Err(Errno::BADF);
            }
            pidfd_getfd(process, number, PidfdGetfdFlags::empty())
        };
        match pidfd_open(getpid(), PidfdFlags::empty()).and_then(copy) {
            Ok(file) if fcntl_getfl(&file)?.intersects(OFlags::WRONLY | OFlags::RDWR) => Ok(Some(file)),
            Ok(_) => Err(Errno::ACCESS),
            // Before Linux 5.6, and under the system call filter of many container engines.
            Err(Errno::NOSYS | Errno::PERM) => reopen(number),
            Err(e) => Err(e),
        }
    }

    /// Opens the file of a descriptor again through /proc, which is not possible for a socket.
    fn reopen(number: i32) -> rustix::io::Result<Option<OwnedFd>> {
        let path = format!("/proc/self/fd/{number}");
        // The mode of the link is that of the descriptor.
        let Ok(link) = fs::symlink_metadata(&path) else { return Err(Errno::BADF) };
        if link.mode() & 0o200 == 0 {
            return Err(Errno::ACCESS);
        }
        if fs::metadata(&path).is_ok_and(|file| file.file_type().is_socket()) {
            return Err(Errno::NOTSUP);
        }
        // Without O_NONBLOCK this would wait for a reader of the pipe.
        match open(&path, OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NXIO) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes all bytes. Stops at a signal while the reader of a full pipe reads nothing.
    pub(super) fn write(mut file: &File, mut bytes: &[u8], cancel: &Cancel) -> io::Result<()> {
        while !bytes.is_empty() {
            if !wait(file, PollFlags::OUT, cancel)? {
                return Err(Errno::INTR.into());
            }
            match file.write(bytes.get(..PIPE_BUFFER).unwrap_or(bytes)) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
