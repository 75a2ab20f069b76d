//! A tar writer that can write anything. Entries are correct by default, and every field, record and block can be set wrong.
//!
//! ```
//! use kit::archive::{archive, dir, file};
//!
//! let tar = archive(&[dir("etc").mode(0o700), file("etc/passwd", "root:x:0:0::/:/bin/sh\n").size(1 << 40)]);
//! assert_eq!(tar.len(), 512 + 1024 + 1024);
//! ```

/// An entry of an archive, or raw bytes in place of one.
///
/// By default it belongs to the user who runs the tests and is from 2023.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Records of a pax `x` header before the entry.
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Raw blocks before the entry's header.
    before: Vec<u8>,
    name: Vec<u8>,
    kind: u8,
    mode: u32,
    uid: i64,
    gid: i64,
    mtime: i64,
    link: Vec<u8>,
    body: Vec<u8>,
    size: Option<i64>,
    device: (i64, i64),
    /// Bytes that overwrite the header before its checksum is computed.
    patches: Vec<(usize, Vec<u8>)>,
    checksum: Option<Vec<u8>>,
    verbatim: Option<Vec<u8>>,
}

/// Returns a regular file.
pub fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'0', 0o644).body(body)
}

/// Returns a folder.
pub fn dir(name: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'5', 0o755)
}

/// Returns a symbolic link.
pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'2', 0o777).link(target)
}

/// Returns a hard link to an earlier entry.
pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'1', 0o644).link(target)
}

/// Returns a named pipe.
pub fn fifo(name: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'6', 0o644)
}

/// Returns a character device.
pub fn char_device(name: impl AsRef<[u8]>, major: i64, minor: i64) -> Entry {
    Entry::new(name, b'3', 0o600).device(major, minor)
}

/// Returns a block device.
pub fn block_device(name: impl AsRef<[u8]>, major: i64, minor: i64) -> Entry {
    Entry::new(name, b'4', 0o600).device(major, minor)
}

/// Returns the whiteout that removes `path`.
pub fn whiteout(path: &str) -> Entry {
    match path.rsplit_once('/') {
        None => file(format!(".wh.{path}"), ""),
        Some((parent, name)) => file(format!("{parent}/.wh.{name}"), ""),
    }
}

/// Returns the opaque whiteout that removes what lower layers have in a folder.
pub fn opaque(path: &str) -> Entry {
    file(format!("{path}/.wh..wh..opq"), "")
}

/// Returns a global pax header with these records.
pub fn global(records: &[(&str, &str)]) -> Entry {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value.as_bytes())).collect();
    extension(b'g', &body)
}

/// Returns an extension header of any kind (`x`, `g`, `L`, `K` …) with any body.
pub fn extension(kind: u8, body: &[u8]) -> Entry {
    Entry::new("././@ext", kind, 0o644).body(body)
}

/// Returns raw bytes in place of an entry.
pub fn verbatim(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry { verbatim: Some(bytes.into()), ..Entry::new("", b'0', 0) }
}

/// Returns a pax record with its correct length, which counts its own digits.
pub fn record(key: impl AsRef<[u8]>, value: &[u8]) -> Vec<u8> {
    let key = key.as_ref();
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

/// Returns the archive of these entries, with the two empty blocks of its end.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = unended(entries);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Returns the entries without an end.
pub fn unended(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(Entry::bytes).collect()
}

/// Returns the bytes with zeros up to the end of a block.
pub fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

impl Entry {
    /// Returns an entry of any kind with an empty body.
    pub fn new(name: impl AsRef<[u8]>, kind: u8, mode: u32) -> Entry {
        Entry {
            pax: Vec::new(),
            before: Vec::new(),
            name: name.as_ref().to_vec(),
            kind,
            mode,
            uid: i64::from(rustix::process::getuid().as_raw()),
            gid: i64::from(rustix::process::getgid().as_raw()),
            mtime: 1_700_000_000,
            link: Vec::new(),
            body: Vec::new(),
            size: None,
            device: (0, 0),
            patches: Vec::new(),
            checksum: None,
            verbatim: None,
        }
    }

    /// Sets the permission bits.
    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    /// Sets owner and group.
    pub fn owner(mut self, uid: i64, gid: i64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the modification time, in seconds since 1970.
    pub fn mtime(mut self, seconds: i64) -> Entry {
        self.mtime = seconds;
        self
    }

    /// Sets the type flag.
    pub fn kind(mut self, kind: u8) -> Entry {
        self.kind = kind;
        self
    }

    /// Sets the size in the header, whatever the body has.
    pub fn size(mut self, size: i64) -> Entry {
        self.size = Some(size);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Entry {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Sets the target of a link.
    pub fn link(mut self, target: impl AsRef<[u8]>) -> Entry {
        self.link = target.as_ref().to_vec();
        self
    }

    /// Sets the numbers of a device.
    pub fn device(mut self, major: i64, minor: i64) -> Entry {
        self.device = (major, minor);
        self
    }

    /// Adds a record to the pax header of this entry.
    pub fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Entry {
        self.pax.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds a pax header with exactly this body.
    pub fn raw_pax(mut self, body: &[u8]) -> Entry {
        self.before.extend(extension(b'x', body).bytes());
        self
    }

    /// Moves name and link into GNU `L` and `K` entries. The header keeps their beginnings.
    pub fn gnu_names(mut self) -> Entry {
        for (kind, text) in [(b'K', &self.link), (b'L', &self.name)] {
            if !text.is_empty() {
                let body = [text, &b"\0"[..]].concat();
                self.before.extend(extension(kind, &body).bytes());
            }
        }
        self.name.truncate(100);
        self.link.truncate(100);
        self
    }

    /// Overwrites bytes of the ustar header at this offset. The checksum is computed afterwards.
    pub fn patch(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Entry {
        self.patches.push((offset, bytes.as_ref().to_vec()));
        self
    }

    /// Sets the checksum's field, right or wrong.
    pub fn checksum(mut self, field: &[u8]) -> Entry {
        self.checksum = Some(field.to_vec());
        self
    }

    /// Returns the bytes of the entry in an archive: extension headers, header, body, padding.
    pub fn bytes(&self) -> Vec<u8> {
        if let Some(bytes) = &self.verbatim {
            return bytes.clone();
        }
        let mut bytes = Vec::new();
        let mut records: Vec<u8> = self.pax.iter().flat_map(|(key, value)| record(key, value)).collect();
        for (key, text) in [("path", &self.name), ("linkpath", &self.link)] {
            if text.len() > 100 {
                records.extend(record(key, text));
            }
        }
        if !records.is_empty() {
            bytes.extend(extension(b'x', &records).bytes());
        }
        bytes.extend_from_slice(&self.before);
        bytes.extend_from_slice(&self.header());
        bytes.extend(padded(&self.body));
        bytes
    }

    /// Returns the ustar header. Names and links that are longer than their fields are cut.
    pub fn header(&self) -> [u8; 512] {
        let mut header = [0u8; 512];
        put(&mut header, 0, &self.name[..self.name.len().min(100)]);
        put(&mut header, 100, &number(i64::from(self.mode), 8));
        put(&mut header, 108, &number(self.uid, 8));
        put(&mut header, 116, &number(self.gid, 8));
        put(&mut header, 124, &number(self.size.unwrap_or(self.body.len() as i64), 12));
        put(&mut header, 136, &number(self.mtime, 12));
        put(&mut header, 156, &[self.kind]);
        put(&mut header, 157, &self.link[..self.link.len().min(100)]);
        put(&mut header, 257, b"ustar\x0000");
        if matches!(self.kind, b'3' | b'4') {
            put(&mut header, 329, &number(self.device.0, 8));
            put(&mut header, 337, &number(self.device.1, 8));
        }
        self.patches.iter().for_each(|(offset, bytes)| put(&mut header, *offset, bytes));
        set_checksum(&mut header);
        if let Some(field) = &self.checksum {
            put(&mut header, 148, field);
        }
        header
    }
}

/// Computes the checksum of a header and writes it there.
pub fn set_checksum(header: &mut [u8; 512]) {
    put(header, 148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(header, 148, format!("{sum:06o}\0 ").as_bytes());
}

fn put(header: &mut [u8; 512], offset: usize, bytes: &[u8]) {
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Returns a number for a field of the header: octal with a NUL at its end if it fits, otherwise base-256.
pub fn number(value: i64, width: usize) -> Vec<u8> {
    let text = format!("{value:0digits$o}", digits = width - 1);
    if value >= 0 && text.len() < width {
        return [text.as_bytes(), b"\0"].concat();
    }
    base256(value, width)
}

/// Returns a number in GNU's base-256, where the highest bit marks it and the rest is two's complement, big-endian.
pub fn base256(value: i64, width: usize) -> Vec<u8> {
    let fill = if value < 0 { 0xff } else { 0 };
    let mut bytes = vec![fill; width];
    let low = value.to_be_bytes();
    let start = width.saturating_sub(low.len());
    bytes[start..].copy_from_slice(&low[low.len() - (width - start)..]);
    bytes[0] |= 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("a", b"b"), b"6 a=b\n");
        assert_eq!(record("abc", b"defg"), b"12 abc=defg\n");
        assert!(record("a", &[b'b'; 93]).starts_with(b"99 a="));
        assert!(record("a", &[b'b'; 94]).starts_with(b"101 a="));
    }

    #[test]
    fn tar_reads_what_is_written() {
        let name = "n".repeat(150);
        let bytes = archive(&[file(&name, [0; 4096]).owner(0, 0), symlink("link", "target").gnu_names()]);
        let mut tar = Command::new("tar");
        let mut tar = tar.args(["-tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("tar runs");
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = tar.wait_with_output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && listing.contains(&name) && listing.contains("link -> target"), "{listing}");
        assert!(listing.contains("-rw-r--r-- ") && listing.contains("4096"), "{listing}");
    }
}
