//! The header block of an entry: read in the formats V7, ustar, GNU and star, written in ustar.
//!
//! The only file that uses the tar crate, and only for the layout of headers, because that crate's own reader does not
//! limit extension records and its unpacker does not know whiteouts.

use tar::Header;

use super::blocks::BLOCK;
use super::entry::DeviceNumber;
use super::records::{Time, header_number, header_time, malformed};
use crate::error::Result;

/// A header whose checksum is right.
pub(super) struct TarHeader<'a>(&'a Header);

/// The fields of a sparse file in the old GNU format.
pub(super) struct GnuSparse<'a> {
    /// The size of the file, holes included.
    pub(super) real_size: u64,
    /// The first part of the map: four pairs of 24 bytes each.
    pub(super) pairs: &'a [u8],
    /// True if a block with more pairs follows.
    pub(super) is_extended: bool,
}

impl<'a> TarHeader<'a> {
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self> {
        check_checksum(block)?;
        Ok(Self(Header::from_byte_slice(block)))
    }

    /// Returns the type of the entry, one of the letters and digits that POSIX and GNU define, or NUL.
    pub(super) fn type_flag(&self) -> u8 {
        let [flag] = self.0.as_old().linkflag;
        flag
    }

    /// Returns the name, joined with the prefix if the format has one.
    ///
    /// Only the magic decides about the format, as in Go, because some writers leave the version out. The prefix of
    /// Schily's star is shorter.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0.as_old().name);
        let block = self.0.as_bytes();
        let prefix = match (block.get(257..263), block.get(508..)) {
            (Some(b"ustar\0"), Some(b"tar\0")) => block.get(345..476),
            (Some(b"ustar\0"), _) => block.get(345..500),
            _ => None,
        };
        match until_nul(prefix.unwrap_or_default()) {
            [] => name.to_vec(),
            prefix => [prefix, name].join(&b'/'),
        }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.0.as_old().linkname).to_vec()
    }

    pub(super) fn size(&self) -> Result<u64> {
        check_size(number("size", &self.0.as_old().size)?)
    }

    /// Returns the permission bits, setuid, setgid and sticky.
    pub(super) fn mode(&self) -> Result<u32> {
        Ok((number("mode", &self.0.as_old().mode)? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u64> {
        number("uid", &self.0.as_old().uid)
    }

    pub(super) fn gid(&self) -> Result<u64> {
        number("gid", &self.0.as_old().gid)
    }

    pub(super) fn mtime(&self) -> Result<Time> {
        let seconds = header_time(&self.0.as_old().mtime).ok_or_else(|| malformed("invalid mtime in a header"))?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    pub(super) fn device_number(&self) -> Result<DeviceNumber> {
        let block = self.0.as_bytes();
        let (Some(b"ustar\0" | b"ustar "), Some(major), Some(minor)) =
            (block.get(257..263), block.get(329..337), block.get(337..345))
        else {
            return Err(malformed("device in a V7 header, which has no device number"));
        };
        // Linux has 12 bits for the major number and 20 for the minor one.
        match (number("device number", major)?, number("device number", minor)?) {
            (major @ ..=0xfff, minor @ ..=0xf_ffff) => Ok(DeviceNumber { major: major as u32, minor: minor as u32 }),
            (major, minor) => Err(malformed(&format!("device {major}:{minor} is out of range"))),
        }
    }

    pub(super) fn gnu_sparse(&self) -> Result<GnuSparse<'a>> {
        let (Some(gnu), Some(pairs)) = (self.0.as_gnu(), self.0.as_bytes().get(386..482)) else {
            return Err(malformed("sparse file in a header that is not of GNU format"));
        };
        let real_size = number("size", &gnu.realsize)?;
        Ok(GnuSparse { real_size, pairs, is_extended: gnu.isextended != [0] })
    }
}

#[cfg(feature = "manage")]
/// The fields of a header to write, each small enough for its place.
#[derive(Default)]
pub(super) struct HeaderFields<'a> {
    /// Only the first 100 bytes are written, here and of `link`.
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) type_flag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: u64,
    pub(super) device: DeviceNumber,
}

#[cfg(feature = "manage")]
/// Writes a header in ustar format.
pub(super) fn encode(fields: &HeaderFields<'_>) -> [u8; BLOCK] {
    let mut header = Header::new_ustar();
    header.set_mode(fields.mode);
    header.set_uid(fields.uid.into());
    header.set_gid(fields.gid.into());
    header.set_size(fields.size);
    header.set_mtime(fields.mtime);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.typeflag = [fields.type_flag];
        ustar.set_device_major(fields.device.major);
        ustar.set_device_minor(fields.device.minor);
        copy(&mut ustar.name, fields.name);
        copy(&mut ustar.linkname, fields.link);
    }
    header.set_cksum();
    *header.as_bytes()
}

#[cfg(feature = "manage")]
/// Copies as much of `from` as `to` has room for.
fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Checks that a size is at most `i64::MAX`, so that adding the padding cannot overflow.
pub(super) fn check_size(size: u64) -> Result<u64> {
    if i64::try_from(size).is_err() {
        return Err(malformed("size out of range"));
    }
    Ok(size)
}

/// Parses a number of a header. `name` names the field in the error.
pub(super) fn number(name: &str, field: &[u8]) -> Result<u64> {
    header_number(field).ok_or_else(|| malformed(&format!("invalid {name} in a header")))
}

/// Compares the sum of the header's bytes with the checksum field. The field itself counts as eight blanks. The sum may
/// be of unsigned bytes or of signed ones, because some old writers used the latter.
fn check_checksum(block: &[u8; BLOCK]) -> Result<()> {
    let field = block.get(148..156).unwrap_or_default();
    let blanks = u32::from(b' ') * 8;
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b)).sum::<u32>();
    let unsigned = sum(block) - sum(field) + blanks;
    // As a signed byte, each byte from 128 on counts 256 less.
    let high = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b >> 7)).sum::<u32>();
    let signed = || i64::from(unsigned) - 256 * i64::from(high(block) - high(field));
    match header_number(field) {
        Some(stored) if stored == u64::from(unsigned) || i64::try_from(stored) == Ok(signed()) => Ok(()),
        _ => Err(malformed("header checksum mismatch")),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}
