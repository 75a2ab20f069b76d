//! Reads the first block of a PEM file (RFC 7468). Text before it and blocks after it are ignored, as Go's reader does, so
//! that pullet and cosign take the same key from the same file.

use super::encoding::decode_base64;

/// The most bytes of a file with a key. The largest key has 800.
pub(crate) const PEM_LIMIT: usize = 64 << 10;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// A block: its label, such as `PUBLIC KEY`, and its content.
pub(super) struct PemBlock<'a> {
    pub(super) label: &'a str,
    pub(super) content: Vec<u8>,
}

/// Returns the first block. The error is a text for people.
pub(super) fn first_block(file: &[u8]) -> Result<PemBlock<'_>, String> {
    if file.len() > PEM_LIMIT {
        return Err(format!("it has more than {PEM_LIMIT} bytes"));
    }
    let text = std::str::from_utf8(file).map_err(|_| "it is not a PEM file")?;
    let mut lines = text.lines().map(str::trim_end);
    let label = lines.find_map(|line| line.strip_prefix(BEGIN)?.strip_suffix(DASHES));
    let label = label.ok_or("it is not a PEM file: it has no line that begins with -----BEGIN")?;
    let end = format!("-----END {label}-----");
    let mut base64 = String::new();
    for line in lines {
        if line == end {
            let content = decode_base64(&base64).ok_or("the base64 in its PEM block is malformed")?;
            return Ok(PemBlock { label, content });
        }
        base64.push_str(line);
    }
    Err(format!("its PEM block has no line {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, expected: Option<(&str, &[u8])>) {
        let block = first_block(file.as_bytes());
        let found = block.as_ref().ok().map(|block| (block.label, block.content.as_slice()));
        assert_eq!(found, expected, "{file:?}: {:?}", block.as_ref().err());
    }

    #[test]
    fn takes_the_first_block_and_ignores_what_is_around_it() {
        check("-----BEGIN A-----\nAQI=\n-----END A-----\n", Some(("A", &[1, 2])));
        check("# a key\r\n\r\n-----BEGIN A B-----\r\nAQ\r\nID\r\n-----END A B-----", Some(("A B", &[1, 2, 3])));
        check("-----BEGIN A-----\nAQ==\n-----END A-----\n-----BEGIN B-----\n?", Some(("A", &[1])));
        check("-----BEGIN A-----\n-----END A-----\n", Some(("A", &[])));
    }

    #[test]
    fn refuses_what_is_malformed() {
        for file in [
            "",
            "AQI=",
            "-----BEGIN A-----\nAQI=\n",
            "-----BEGIN A-----\nAQI=\n-----END B-----\n",
            "-----BEGIN A-----\nAQI\n-----END A-----\n",
            "-----BEGIN A-----\nAQJ=\n-----END A-----\n",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAQI=\n-----END A-----\n",
            "-----BEGIN A\nAQI=\n-----END A-----\n",
            "x-----BEGIN A-----\nAQI=\n-----END A-----\n",
        ] {
            check(file, None);
        }
        check(&format!("{}-----BEGIN A-----\nAQI=\n-----END A-----\n", "\n".repeat(PEM_LIMIT)), None);
    }
}
