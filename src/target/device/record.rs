//! The record of an incomplete image. It takes the place of the first block of the image until everything else is written, so
//! no boot loader and no mount takes the device for valid, `head -c 4096` shows what it is, and the next run knows where to go
//! on. Nothing in it is believed: what it claims is hashed again.

use crate::digest::Digest;

const FIRST_LINE: &str = "pullet: an image is being written here, and is not complete";

/// How far an image was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    /// The digest of the blob that was fetched.
    pub(crate) blob: Digest,
    /// Bytes of the image, without its head, that were durable.
    pub(crate) done: u64,
}

impl Record {
    /// The first bytes of the block. The rest is zero.
    pub(super) fn text(&self) -> String {
        format!("{FIRST_LINE}\nblob {}\ndone {}\n", self.blob, self.done)
    }

    /// Parses a block. `None` if it has no record.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let end = block.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(block.get(..end)?).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let blob = lines.next()?.strip_prefix("blob ")?.parse().ok()?;
        let done = lines.next()?.strip_prefix("done ")?.parse().ok()?;
        lines.next().is_none().then_some(Self { blob, done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_it_wrote() {
        let record = Record { blob: Digest::sha256(b"x"), done: 7 << 20 };
        let block = |text: &str| [text.as_bytes(), &[0; 100]].concat();
        let text = record.text();
        assert_eq!(Record::parse(&block(&text)), Some(record));
        assert_eq!(Record::parse(text.as_bytes()), None);
        for bad in ["", &text[1..], &text[..text.len() - 1], &format!("{text}x\n"), &text.replace("done 7", "done -7")]
        {
            assert_eq!(Record::parse(&block(bad)), None, "{bad}");
        }
        assert_eq!(Record::parse(&[0xff; 4096]), None);
    }
}
