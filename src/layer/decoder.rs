//! From a layer's blob to its tar: gzip of any number of members, zstd of any number of frames, or plain, by media
//! type alone. The only file that names flate2 and ruzstd. No decompressor is ever run from outside.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// Compressed bytes that are read at once.
const INPUT_BUFFER: usize = 64 << 10;

/// A reader of the uncompressed bytes. Its errors are typed.
pub(crate) enum Decoder<R: Read> {
    Plain(R),
    /// Header, CRC32 and ISIZE of each member are checked, and what follows the last one must be a member
    /// (RFC 1952; cgr.dev serves layers of many).
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::Frames<R>>),
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(blob: R, compression: Compression, limits: &Limits) -> Result<Self> {
        match compression {
            Compression::None => Ok(Self::Plain(blob)),
            Compression::Gzip => {
                Ok(Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(INPUT_BUFFER, blob)))))
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => Ok(Self::Zstd(Box::new(zstd::Frames::new(blob, limits.zstd_window)))),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => {
                let _ = limits;
                Err(Error::new(ErrorKind::Unsupported, "this pullet was built without zstd"))
            }
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(blob) => blob.read(buf),
            Self::Gzip(members) => members.read(buf).map_err(|e| typed("gzip", e)),
            #[cfg(feature = "zstd")]
            Self::Zstd(frames) => frames.read(buf).map_err(|e| typed("zstd", e)),
        }
    }
}

/// Disk and network errors from below pass; what is left is a broken archive.
fn typed(format: &str, error: io::Error) -> io::Error {
    let is_ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    match is_ours || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
        true => error,
        false => Error::new(ErrorKind::Unsafe, format!("malformed {format}: {error}")).into(),
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    //! Frames of zstd one after the other, skippable ones skipped (RFC 8878, section 3.1).

    use std::io::BufRead as _;

    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    use crate::advice::Limit;

    use super::{BufReader, Error, ErrorKind, INPUT_BUFFER, Limits, Read, io};

    pub(crate) struct Frames<R: Read> {
        blob: BufReader<Kept<R>>,
        decoder: FrameDecoder,
        window: u64,
        in_frame: bool,
    }

    impl<R: Read> Frames<R> {
        pub(crate) fn new(blob: R, window: u64) -> Self {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(window);
            let blob = BufReader::with_capacity(INPUT_BUFFER, Kept { blob, error: None });
            Self { blob, decoder, window, in_frame: false }
        }

        /// Begins the next frame; `false` at the end of the blob.
        fn begin(&mut self) -> io::Result<bool> {
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

        /// The reader's own error if there was one, else the decoder's.
        fn failure(&mut self, error: &FrameDecoderError) -> io::Error {
            self.blob.get_mut().error.take().unwrap_or_else(|| io::Error::other(error.to_string()))
        }

        fn end(&mut self) -> io::Result<()> {
            self.in_frame = false;
            match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
                (Some(promised), calculated) if calculated != Some(promised) => {
                    Err(Error::new(ErrorKind::Unsafe, "malformed zstd: checksum mismatch").into())
                }
                _ => Ok(()),
            }
        }
    }

    /// Keeps the error of a read aside: the decoder would turn it into a text, and a bad disk into a bad archive.
    struct Kept<R> {
        blob: R,
        error: Option<io::Error>,
    }

    impl<R: Read> Read for Kept<R> {
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

    impl<R: Read> Read for Frames<R> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            loop {
                if self.in_frame {
                    let n = self.decoder.read(buf)?;
                    if n > 0 {
                        return Ok(n);
                    }
                    if self.decoder.is_finished() {
                        self.end()?;
                        continue;
                    }
                    let one = BlockDecodingStrategy::UptoBlocks(1);
                    if let Err(e) = self.decoder.decode_blocks(&mut self.blob, one) {
                        return Err(self.failure(&e));
                    }
                } else if !self.begin()? {
                    return Ok(0);
                }
            }
        }
    }
}
