//! A writer of tars: ustar headers, and pax records for extended attributes.

/// The entries of a tar, in their order.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// What an entry is.
pub enum Kind<'a> {
    CharDevice(u32, u32),
    Dir,
    Fifo,
    File(&'a [u8]),
    HardLink(&'a str),
    Symlink(&'a str),
}

/// The fields of a header that differ between kinds.
#[derive(Default)]
struct Fields<'a> {
    flag: u8,
    link: &'a str,
    body: &'a [u8],
    device: (u32, u32),
}

impl Archive {
    pub fn put(self, name: &str, mode: u32, kind: Kind<'_>) -> Self {
        let fields = match kind {
            Kind::CharDevice(major, minor) => Fields { flag: b'3', device: (major, minor), ..Fields::default() },
            Kind::Dir => Fields { flag: b'5', ..Fields::default() },
            Kind::Fifo => Fields { flag: b'6', ..Fields::default() },
            Kind::File(body) => Fields { flag: b'0', body, ..Fields::default() },
            Kind::HardLink(link) => Fields { flag: b'1', link, ..Fields::default() },
            Kind::Symlink(link) => Fields { flag: b'2', link, ..Fields::default() },
        };
        self.entry(name, mode, &fields)
    }

    /// The extended attributes of the next entry.
    pub fn xattrs(self, xattrs: &[(&str, &[u8])]) -> Self {
        let records = xattrs.iter().flat_map(|(name, value)| record(&format!("SCHILY.xattr.{name}"), value));
        let records: Vec<u8> = records.collect();
        self.entry("pax", 0o644, &Fields { flag: b'x', body: &records, ..Fields::default() })
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    /// Who may become somebody else is somebody else's: a change of owner takes the setuid bit away.
    fn entry(mut self, name: &str, mode: u32, fields: &Fields<'_>) -> Self {
        let Fields { flag, link, body, device } = fields;
        let owner = if mode & 0o7000 == 0 { 0 } else { 12 };
        let numbers = format!("{mode:07o}\0{owner:07o}\0{owner:07o}\0{:011o}\0{TIME:011o}\0        ", body.len());
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &numbers);
        put(157, link);
        put(257, "ustar\x0000");
        put(329, &format!("{:07o}\0{:07o}\0", device.0, device.1));
        header[156] = *flag;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(header);
        self.bytes.extend(*body);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}

/// The time of every entry, in seconds.
pub const TIME: i64 = 1_600_000_000;

/// A pax record, whose length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = |number: usize| number.to_string().len();
    let length = (rest..).find(|length| *length == rest + digits(*length)).unwrap_or(rest);
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        assert_eq!(record("a", b"b"), b"6 a=b\n");
        assert_eq!(record("abc", b"defg"), b"12 abc=defg\n");
    }
}
