//! Decompresses a layer's blob: gzip with any number of members, zstd with any number of frames, or no compression.
//!
//! The media type alone decides about the format. No external decompressor is ever run, because untrusted bytes would
//! reach a program that pullet does not confine. The only file that uses flate2 and ruzstd.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// Compressed bytes requested per read.
const INPUT_BUFFER: usize = 64 << 10;

/// A reader of the uncompressed bytes. It checks `cancel` before each read of the blob, because a blob may have any number
/// of bytes that decompress to nothing, such as empty members of gzip. Each of its IO errors carries an [`Error`] or an
/// error of the operating system.
pub(crate) enum Decoder<R: Read> {
    Plain(CancellableReader<R>),
    /// The header, CRC32 and ISIZE of each member are checked. Bytes after a member must be another member (RFC 1952);
    /// cgr.dev serves layers with many.
    Gzip(Box<MultiGzDecoder<BufReader<CancellableReader<R>>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::FrameReader<CancellableReader<R>>>),
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(blob: R, compression: Compression, limits: &Limits, cancel: &Cancel) -> Result<Self> {
        let blob = CancellableReader { blob, cancel: cancel.clone() };
        match compression {
            Compression::None => Ok(Self::Plain(blob)),
            Compression::Gzip => {
                Ok(Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(INPUT_BUFFER, blob)))))
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => Ok(Self::Zstd(Box::new(zstd::FrameReader::new(blob, limits.zstd_window)))),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => {
                let _ = limits;
                Err(Error::new(ErrorKind::Unsupported, "decompress layer: this build has no zstd support"))
            }
        }
    }
}

pub(crate) struct CancellableReader<R> {
    blob: R,
    cancel: Cancel,
}

impl<R: Read> Read for CancellableReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.blob.read(buf)
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(blob) => blob.read(buf),
            Self::Gzip(members) => members.read(buf).map_err(|e| classify("gzip", e)),
            #[cfg(feature = "zstd")]
            Self::Zstd(frames) => frames.read(buf).map_err(|e| classify("zstd", e)),
        }
    }
}

/// Passes on errors of the disk and of the network. Every other error means that the compressed data is malformed.
fn classify(format: &str, error: io::Error) -> io::Error {
    let is_typed = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    if is_typed || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    Error::new(ErrorKind::Unsafe, format!("malformed {format}: {error}")).into()
}

#[cfg(feature = "zstd")]
mod zstd {
    //! Reads consecutive zstd frames. Skippable frames are skipped (RFC 8878, section 3.1).
    //!
    //! The limit applies to the bytes that are kept for references back, not to the window that a frame declares: skopeo's
    //! zstd:chunked declares 32 MiB for frames that need less than 4 MiB. A larger window is replaced by the limit before
    //! the decoder sees it, and a frame that refers further back is refused.

    use std::io::{BufRead as _, Cursor};

    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    use crate::advice::Limit;

    use super::{BufReader, Error, ErrorKind, INPUT_BUFFER, Limits, Read, io};

    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    /// The bits of a frame header's descriptor that say how the size of the content is stored.
    const CONTENT_SIZE: u8 = 0xc0;
    /// The bit of a frame header's descriptor for a window of the size of the content.
    const SINGLE_SEGMENT: u8 = 0x20;
    /// The smallest limit in bytes: one block, which is in memory as a whole. No block may be larger than the window.
    const MIN_WINDOW: u64 = 128 << 10;

    /// The largest window that a frame may declare, in bytes; libzstd supports fewer.
    const MAX_DECLARED: u64 = 4 << 30;

    /// The first bytes of a frame.
    type Header = Cursor<Vec<u8>>;

    pub(crate) struct FrameReader<R: Read> {
        blob: BufReader<ErrorKeeper<R>>,
        decoder: FrameDecoder,
        /// The maximum size of a frame's window in bytes.
        window: u64,
        /// The descriptor of the largest window within the limit.
        largest: u8,
        /// True if the current frame declares a larger window than it gets.
        is_reduced: bool,
        in_frame: bool,
    }

    impl<R: Read> FrameReader<R> {
        pub(crate) fn new(blob: R, window: u64) -> Self {
            let mut decoder = FrameDecoder::new();
            let window = window.max(MIN_WINDOW);
            decoder.set_max_window_size(window);
            let blob = BufReader::with_capacity(INPUT_BUFFER, ErrorKeeper { blob, error: None });
            Self { blob, decoder, window, largest: largest_window(window), is_reduced: false, in_frame: false }
        }

        /// Reads the header of the next frame. Returns false at the end of the blob.
        fn begin_frame(&mut self) -> io::Result<bool> {
            while !self.blob.fill_buf()?.is_empty() {
                let header = self.read_header()?;
                match self.decoder.reset(header.chain(&mut self.blob)) {
                    Ok(()) => {
                        self.in_frame = true;
                        return Ok(true);
                    }
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                        length, ..
                    })) => {
                        let skipped = io::copy(&mut (&mut self.blob).take(length.into()), &mut io::sink())?;
                        if skipped < u64::from(length) {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    Err(other) => return Err(failure(&other)),
                }
            }
            Ok(false)
        }

        fn read_frames(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            loop {
                if self.in_frame {
                    let n = self.decoder.read(buf)?;
                    if n > 0 {
                        return Ok(n);
                    }
                    if self.decoder.is_finished() {
                        self.end_frame()?;
                        continue;
                    }
                    let one = BlockDecodingStrategy::UptoBlocks(1);
                    if let Err(e) = self.decoder.decode_blocks(&mut self.blob, one) {
                        return Err(self.block_failure(&e));
                    }
                } else if !self.begin_frame()? {
                    return Ok(0);
                }
            }
        }

        /// Reads the header of a frame up to its window, and reduces the window to the limit. Returns the first bytes of a
        /// skippable frame unchanged.
        fn read_header(&mut self) -> io::Result<Header> {
            let mut start = [0; 6];
            self.blob.read_exact(&mut start)?;
            let [m0, m1, m2, m3, descriptor, next] = start;
            let magic = [m0, m1, m2, m3];
            self.is_reduced = false;
            if magic != MAGIC {
                return Ok(Cursor::new(start.to_vec()));
            }
            if descriptor & SINGLE_SEGMENT == 0 {
                check_declared(window_size(next))?;
                let window = if window_size(next) > self.window { self.largest } else { next };
                self.is_reduced = window != next;
                return Ok(Cursor::new([&magic[..], &[descriptor, window]].concat()));
            }
            // The window is as large as the content, whose size follows the ID of the dictionary.
            let id_length = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default();
            let size_length = 1_usize << (descriptor >> 6);
            let mut rest = vec![next];
            (&mut self.blob).take((id_length + size_length - 1) as u64).read_to_end(&mut rest)?;
            let (id, size) = rest.split_at_checked(id_length).ok_or(io::ErrorKind::UnexpectedEof)?;
            let stored = size.iter().rev().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
            let size = if size_length == 2 { stored + 256 } else { stored };
            check_declared(size)?;
            if size <= self.window {
                return Ok(Cursor::new([&magic[..], &[descriptor], &rest].concat()));
            }
            self.is_reduced = true;
            let descriptor = descriptor & !(SINGLE_SEGMENT | CONTENT_SIZE);
            Ok(Cursor::new([&magic[..], &[descriptor, self.largest], id].concat()))
        }

        /// Returns the error of the decoder, or the one for a frame that needs more of its window than it got.
        fn block_failure(&self, error: &FrameDecoderError) -> io::Error {
            use ruzstd::decoding::errors::DecodeBlockContentError::DecompressBlockError as InBlock;
            use ruzstd::decoding::errors::DecompressBlockError::ExecuteSequencesError as InSequence;
            use ruzstd::decoding::errors::ExecuteSequencesError::DecodebufferError;
            let is_too_far =
                matches!(error, FrameDecoderError::FailedToReadBlockBody(InBlock(InSequence(DecodebufferError(_)))));
            if self.is_reduced && is_too_far {
                return Limits::exceeded_adjustable(Limit::ZstdWindow, "bytes of zstd window", self.window).into();
            }
            failure(error)
        }

        /// Compares the checksum, if the frame has one.
        fn end_frame(&mut self) -> io::Result<()> {
            self.in_frame = false;
            let expected = self.decoder.get_checksum_from_data();
            if expected.is_some() && self.decoder.get_calculated_checksum() != expected {
                return Err(Error::new(ErrorKind::Unsafe, "malformed zstd: checksum mismatch").into());
            }
            Ok(())
        }
    }

    /// A reader that keeps its error, because the decoder turns errors into text, and a failing disk would look like a
    /// malformed archive.
    struct ErrorKeeper<R> {
        blob: R,
        error: Option<io::Error>,
    }

    impl<R: Read> Read for ErrorKeeper<R> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.blob.read(buf).map_err(|e| match e.kind() {
                io::ErrorKind::Interrupted => e,
                kind => {
                    self.error = Some(e);
                    kind.into()
                }
            })
        }
    }

    impl<R: Read> Read for FrameReader<R> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            // If the reader below failed, its error is the one to return.
            self.read_frames(buf).map_err(|e| self.blob.get_mut().error.take().unwrap_or(e))
        }
    }

    /// Rejects a window that libzstd rejects too, so no real frame declares it.
    fn check_declared(window: u64) -> io::Result<()> {
        if window > MAX_DECLARED {
            return Err(io::Error::other("the frame declares a window above 4 GiB"));
        }
        Ok(())
    }

    /// Returns the size of the window with this descriptor (RFC 8878, section 3.1.1.1.2).
    fn window_size(descriptor: u8) -> u64 {
        let base = 1 << (10 + (descriptor >> 3));
        base + base / 8 * u64::from(descriptor & 7)
    }

    /// Returns the descriptor of the largest window within `limit`, which is at least [`MIN_WINDOW`].
    fn largest_window(limit: u64) -> u8 {
        (0..=u8::MAX).rev().find(|descriptor| window_size(*descriptor) <= limit).unwrap_or_default()
    }

    fn failure(error: &FrameDecoderError) -> io::Error {
        io::Error::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// An endless blob of the same piece. It cancels the work at the tenth read, and fails at the twentieth.
    struct Endless<'a> {
        piece: &'a [u8],
        reads: usize,
        cancel: Cancel,
    }

    impl Read for Endless<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            if self.reads == 10 {
                self.cancel.cancel();
            }
            assert!(self.reads < 20, "the decoder ignores the cancel flag");
            let whole = buf.len() - buf.len() % self.piece.len();
            for part in buf.chunks_exact_mut(self.piece.len()) {
                part.copy_from_slice(self.piece);
            }
            Ok(whole)
        }
    }

    #[track_caller]
    fn check(piece: &[u8], compression: Compression) {
        let read = |cancel: &Cancel| {
            let blob = Endless { piece, reads: 0, cancel: cancel.clone() };
            let mut decoder = Decoder::new(blob, compression, &Limits::default(), cancel).unwrap();
            let error = decoder.read(&mut [0; 100]).map(drop).unwrap_err();
            Error::through_read(error, |e| panic!("untyped error {e}")).kind()
        };
        assert_eq!(read(&Cancel::default()), ErrorKind::Interrupted);
        assert_eq!(read(&Cancel::with_deadline(Instant::now())), ErrorKind::Network);
    }

    #[test]
    fn bytes_that_decompress_to_nothing_end_at_the_cancel_flag_and_the_deadline() {
        check(b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0", Compression::Gzip);
        #[cfg(feature = "zstd")]
        {
            check(b"\x50\x2a\x4d\x18\0\0\0\0", Compression::Zstd);
            check(b"\x50\x2a\x4d\x18\0\0\0\x40", Compression::Zstd);
            check(b"\x28\xb5\x2f\xfd\x20\0\x01\0\0", Compression::Zstd);
        }
    }
}
