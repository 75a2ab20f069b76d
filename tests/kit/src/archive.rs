//! A tar writer that can write anything: right entries by default, and every field, record and block as wrong as a test wants.

/// One entry, or some raw bytes in its place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Records in a pax `x` header before the entry.
    pax: Vec<(String, Vec<u8>)>,
    /// Blocks before the entry's header, as they are.
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
    /// Bytes put over the header before its checksum is counted.
    patches: Vec<(usize, Vec<u8>)>,
    checksum: Option<Vec<u8>>,
    verbatim: Option<Vec<u8>>,
}

pub fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Entry {
    Entry { body: body.as_ref().to_vec(), ..Entry::new(name, b'0', 0o644) }
}

pub fn dir(name: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'5', 0o755)
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..Entry::new(name, b'2', 0o777) }
}

pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..Entry::new(name, b'1', 0o644) }
}

pub fn fifo(name: impl AsRef<[u8]>) -> Entry {
    Entry::new(name, b'6', 0o644)
}

pub fn char_device(name: impl AsRef<[u8]>, major: i64, minor: i64) -> Entry {
    Entry { device: (major, minor), ..Entry::new(name, b'3', 0o600) }
}

pub fn block_device(name: impl AsRef<[u8]>, major: i64, minor: i64) -> Entry {
    Entry { device: (major, minor), ..Entry::new(name, b'4', 0o600) }
}

/// The mark that removes `path`, which must have a last component.
pub fn whiteout(path: &str) -> Entry {
    match path.rsplit_once('/') {
        None => file(format!(".wh.{path}"), ""),
        Some((parent, name)) => file(format!("{parent}/.wh.{name}"), ""),
    }
}

/// The mark that empties a folder of what lower layers put there.
pub fn opaque(path: &str) -> Entry {
    file(format!("{path}/.wh..wh..opq"), "")
}

/// A global pax header with these records.
pub fn global(records: &[(&str, &str)]) -> Entry {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value.as_bytes())).collect();
    extension(b'g', &body)
}

/// An extension header of any kind (`x`, `g`, `L`, `K` …) with any body.
pub fn extension(kind: u8, body: &[u8]) -> Entry {
    Entry { body: body.to_vec(), ..Entry::new("././@ext", kind, 0o644) }
}

/// Bytes where an entry would stand.
pub fn verbatim(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry { verbatim: Some(bytes.into()), ..Entry::new("", b'0', 0) }
}

/// One pax record with its right length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// The entries and the two empty blocks of the end.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = unended(entries);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The entries alone.
pub fn unended(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(Entry::bytes).collect()
}

/// Bytes up to the next border of a block.
pub fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

impl Entry {
    fn new(name: impl AsRef<[u8]>, kind: u8, mode: u32) -> Entry {
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

    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: i64, gid: i64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub fn mtime(mut self, seconds: i64) -> Entry {
        self.mtime = seconds;
        self
    }

    pub fn kind(mut self, kind: u8) -> Entry {
        self.kind = kind;
        self
    }

    /// The header's size, whatever the body has.
    pub fn size(mut self, size: i64) -> Entry {
        self.size = Some(size);
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Entry {
        self.body = body.as_ref().to_vec();
        self
    }

    /// One more record in the pax header of this entry.
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Entry {
        self.pax.push((key.to_string(), value.as_ref().to_vec()));
        self
    }

    /// A pax header with exactly this body before the entry.
    pub fn raw_pax(mut self, body: &[u8]) -> Entry {
        self.before.extend(extension(b'x', body).bytes());
        self
    }

    /// Name and link go into GNU `L` and `K` records, and the header keeps their beginnings.
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

    /// Bytes over the header, checksum made afterwards. Offsets are those of the ustar header.
    pub fn patch(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Entry {
        self.patches.push((offset, bytes.as_ref().to_vec()));
        self
    }

    /// These bytes in the checksum's field.
    pub fn checksum(mut self, field: &[u8]) -> Entry {
        self.checksum = Some(field.to_vec());
        self
    }

    /// The entry as it stands in the archive: extension headers, header, body, padding.
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

    fn header(&self) -> [u8; 512] {
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
        put(&mut header, 148, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let right = format!("{sum:06o}\0 ").into_bytes();
        put(&mut header, 148, self.checksum.as_ref().unwrap_or(&right));
        header
    }
}

fn put(header: &mut [u8; 512], offset: usize, bytes: &[u8]) {
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Octal with a closing NUL where it fits, GNU's base-256 otherwise.
pub fn number(value: i64, width: usize) -> Vec<u8> {
    let text = format!("{value:0digits$o}", digits = width - 1);
    if value >= 0 && text.len() < width {
        return [text.as_bytes(), b"\0"].concat();
    }
    base256(value, width)
}

/// GNU's base-256: the high bit marks it, the rest is the number in two's complement.
pub fn base256(value: i64, width: usize) -> Vec<u8> {
    let fill = if value < 0 { 0xff } else { 0 };
    let mut bytes = vec![fill; width];
    let low = value.to_be_bytes();
    let start = width.saturating_sub(low.len());
    bytes[start..].copy_from_slice(&low[low.len() - (width - start)..]);
    bytes[0] |= 0x80;
    bytes
}
