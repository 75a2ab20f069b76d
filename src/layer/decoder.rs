//! Decompresses a layer's blob: gzip with any number of members, zstd with any number of frames, or no compression.
//!
//! The media type alone decides about the format. No external decompressor is ever run, because untrusted bytes would
//! reach a program that pullet does not confine. The only file that uses flate2 and ruzstd.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// Compressed bytes requested per read.
const INPUT_BUFFER: usize = 64 << 10;

/// A reader of the uncompressed bytes. Each of its IO errors carries an [`Error`] or an error of the operating system.
pub(crate) enum Decoder<R: Read> {
    Plain(R),
    /// The header, CRC32 and ISIZE of each member are checked. Bytes after a member must be another member (RFC 1952);
    /// cgr.dev serves layers with many.
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::FrameReader<R>>),
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(blob: R, compression: Compression, limits: &Limits) -> Result<Self> {
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

    use std::io::BufRead as _;

    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    use crate::advice::Limit;

    use super::{BufReader, Error, ErrorKind, INPUT_BUFFER, Limits, Read, io};

    pub(crate) struct FrameReader<R: Read> {
        blob: BufReader<ErrorKeeper<R>>,
        decoder: FrameDecoder,
        /// The maximum size of a frame's window in bytes.
        window: u64,
        in_frame: bool,
    }

    impl<R: Read> FrameReader<R> {
        pub(crate) fn new(blob: R, window: u64) -> Self {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(window);
            let blob = BufReader::with_capacity(INPUT_BUFFER, ErrorKeeper { blob, error: None });
            Self { blob, decoder, window, in_frame: false }
        }

        /// Reads the header of the next frame. Returns false at the end of the blob.
        fn begin_frame(&mut self) -> io::Result<bool> {
            while !self.blob.fill_buf()?.is_empty() {
                match self.decoder.reset(&mut self.blob) {
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
                    Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                        return Err(Limits::exceeded_adjustable(
                            Limit::ZstdWindow,
                            "bytes of zstd window",
                            self.window,
                        )
                        .into());
                    }
                    Err(other) => return Err(self.failure(&other)),
                }
            }
            Ok(false)
        }

        /// Returns the error of the reader below if there was one, and the decoder's otherwise.
        fn failure(&mut self, error: &FrameDecoderError) -> io::Error {
            self.blob.get_mut().error.take().unwrap_or_else(|| io::Error::other(error.to_string()))
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
                        return Err(self.failure(&e));
                    }
                } else if !self.begin_frame()? {
                    return Ok(0);
                }
            }
        }
    }
}
