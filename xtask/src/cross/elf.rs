//! What an ELF file says of how it was linked. Reads the program headers and nothing else.

use crate::Result;

/// How the kernel starts the program.
#[derive(Debug, PartialEq)]
pub enum Linking {
    /// By itself.
    Static,
    /// With this interpreter, or with what it does not find in the file.
    Dynamic(String),
}

const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;

pub fn linking(bytes: &[u8]) -> Result<Linking> {
    let is_wide = match bytes.get(..6) {
        Some(b"\x7fELF\x01\x01") => false,
        Some(b"\x7fELF\x02\x01") => true,
        _ => return Err("no ELF file of little-endian words".into()),
    };
    let number = |at: u64, size: usize| number(bytes, at, size).ok_or("an ELF file that is cut");
    let word = if is_wide { 8 } else { 4 };
    let table = number(if is_wide { 32 } else { 28 }, word)?;
    let size = number(if is_wide { 54 } else { 42 }, 2)?;
    let count = number(if is_wide { 56 } else { 44 }, 2)?;
    let mut linking = Linking::Static;
    for index in 0..count {
        let header = table.saturating_add(index * size);
        match number(header, 4)? {
            INTERPRETER => {
                let start = number(header + if is_wide { 8 } else { 4 }, word)?;
                let length = number(header + if is_wide { 32 } else { 16 }, word)?;
                let name = slice(bytes, start, length).ok_or("an ELF file that is cut")?;
                return Ok(Linking::Dynamic(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
            }
            // A static program that may be loaded anywhere has one too; ours never are that.
            DYNAMIC => linking = Linking::Dynamic("no interpreter".to_owned()),
            _ => {}
        }
    }
    Ok(linking)
}

fn number(bytes: &[u8], at: u64, size: usize) -> Option<u64> {
    let bytes = slice(bytes, at, size as u64)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn slice(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 64 bits with program headers of these types; that of an interpreter names `/ld`.
    fn wide(types: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        (bytes[32], bytes[54], bytes[56]) = (64, 56, types.len() as u8);
        for kind in types {
            let mut header = vec![*kind];
            header.resize(56, 0);
            (header[8], header[32]) = (64 + 56 * types.len() as u8, 4);
            bytes.extend(header);
        }
        bytes.extend(b"/ld\0");
        bytes
    }

    #[test]
    fn static_and_dynamic() {
        for (types, expected) in [
            (&[1, 1][..], Linking::Static),
            (&[1, 3][..], Linking::Dynamic("/ld".into())),
            (&[2, 1][..], Linking::Dynamic("no interpreter".into())),
        ] {
            assert_eq!(linking(&wide(types)).unwrap(), expected, "{types:?}");
        }
        assert!(linking(b"#!/bin/sh").is_err());
        assert!(linking(&wide(&[1, 1])[..70]).is_err());
        // This very test is linked with the machine's C library.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(linking(&own).unwrap(), Linking::Dynamic(_)));
    }
}
