//! A strict reader of DER (X.690), as far as public keys need it. It takes only the one encoding that DER allows for a
//! value, so that one key has one text and one hash.

/// What is wrong with an encoding, in words.
pub(super) type Malformed = &'static str;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The bytes that are still to be read.
pub(super) struct Der<'a> {
    rest: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns true if nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails if anything is left.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err("bytes follow the end") }
    }

    /// Reads an element of this tag and returns its content. Refuses lengths of more than two bytes, which no key has, and
    /// lengths that a shorter encoding could express.
    pub(super) fn element(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        if self.byte()? != tag {
            return Err("an element has another type than expected");
        }
        let length = match self.byte()? {
            short @ 0..=0x7f => usize::from(short),
            0x81 => match self.byte()? {
                0..=0x7f => return Err("a length is not minimal"),
                long => usize::from(long),
            },
            0x82 => match (self.byte()?, self.byte()?) {
                (0, _) => return Err("a length is not minimal"),
                (high, low) => usize::from(high) << 8 | usize::from(low),
            },
            _ => return Err("a length is indefinite or too large"),
        };
        let (content, rest) = self.rest.split_at_checked(length).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(content)
    }

    /// Reads a positive INTEGER and returns its bytes without the sign byte.
    pub(super) fn positive(&mut self) -> Result<&'a [u8], Malformed> {
        match self.element(INTEGER)? {
            [] => Err("a number has no bytes"),
            [0] => Err("a number is zero"),
            [0, next, ..] if *next < 0x80 => Err("a number is not minimal"),
            [0, digits @ ..] => Ok(digits),
            [first, ..] if *first >= 0x80 => Err("a number is negative"),
            digits => Ok(digits),
        }
    }

    /// Reads a BIT STRING of whole bytes.
    pub(super) fn bit_string(&mut self) -> Result<&'a [u8], Malformed> {
        match self.element(BIT_STRING)? {
            [0, content @ ..] => Ok(content),
            _ => Err("a bit string does not end with a whole byte"),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or("it is cut off")?;
        self.rest = rest;
        Ok(*first)
    }
}

/// Encodes an element. `content` has less than 64 KiB; more is cut from the length, which no reader accepts.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_encodes() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; length];
            let encoded = encode(OID, &content);
            let mut der = Der::new(&encoded);
            assert_eq!(der.element(OID), Ok(content.as_slice()), "{length}");
            assert_eq!(der.finish(), Ok(()), "{length}");
        }
    }

    #[test]
    fn refuses_lengths_that_are_not_minimal_indefinite_or_too_large() {
        for bytes in [
            &[0x30, 0x81, 0x01, 0][..],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x83, 1, 0, 0],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x30, 2, 0],
            &[0x30, 0x81],
            &[0x30],
            &[],
            &[0x31, 0],
        ] {
            assert!(Der::new(bytes).element(SEQUENCE).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn numbers_are_positive_and_minimal() {
        for (bytes, expected) in [
            (&[2, 1, 1][..], Some(&[1][..])),
            (&[2, 2, 0, 0x80], Some(&[0x80])),
            (&[2, 1, 0x7f], Some(&[0x7f])),
            (&[2, 0], None),
            (&[2, 1, 0], None),
            (&[2, 2, 0, 0x7f], None),
            (&[2, 1, 0x80], None),
            (&[2, 2, 0xff, 0xff], None),
        ] {
            assert_eq!(Der::new(bytes).positive().ok(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn bit_strings_have_whole_bytes() {
        for (bytes, expected) in
            [(&[3, 2, 0, 9][..], Some(&[9][..])), (&[3, 1, 0], Some(&[])), (&[3, 0], None), (&[3, 2, 1, 8], None)]
        {
            assert_eq!(Der::new(bytes).bit_string().ok(), expected, "{bytes:02x?}");
        }
    }
}
