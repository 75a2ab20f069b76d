//! Archives out of what a fuzzer makes up: of lines, which mutate well and can be read by people, or of bytes whose
//! checksums are put right.
//!
//! A line is a kind, a name, and what the kind needs, with blanks between: `f NAME TEXT`, `d NAME`, `l NAME TARGET`,
//! `h NAME TARGET`, `c NAME`, `b NAME`, `p NAME`; for the next entry `o MODE`, `u ID`, `t TIME` and `x KEYWORD VALUE` (pax).
//! `=` begins the next layer. Any other kind is the header's own letter. `%` stands for the folder that is watched.

use std::borrow::Cow;

const BLOCK: usize = 512;

/// The layers that a script describes, and the folder that `%` means.
pub fn layers(script: &[u8], folder: &str) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    let mut next = Next::default();
    for line in script.split(|&b| b == b'\n') {
        let mut words = line.splitn(3, |&b| b == b' ');
        let [kind, name, rest] = [(); 3].map(|()| words.next().unwrap_or_default());
        let (name, rest) = (expanded(name, folder), expanded(rest, folder));
        match kind {
            b"=" => {
                layers.push(Vec::new());
                next = Next::default();
            }
            b"o" => next.mode = Some(octal(&name)),
            b"u" => next.id = Some(octal(&name)),
            b"t" => next.time = octal(&name),
            b"x" => next.record(&name, &rest),
            [kind, ..] => {
                let layer = layers.last_mut().expect("there is one from the beginning");
                std::mem::take(&mut next).entry(layer, *kind, &name, &rest);
            }
            [] => {}
        }
    }
    layers
}

/// The same bytes with the checksum of each header put right: of each block that is one if the sizes before it are true.
pub fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        if block.iter().any(|&b| b != 0) {
            check(block);
        }
        let size = octal(&block[124..135]);
        let data = if size > bytes.len() as u64 { 0 } else { (size as usize).next_multiple_of(BLOCK) };
        at += BLOCK + data;
    }
    bytes
}

/// What is said of the entry that follows.
#[derive(Default)]
struct Next {
    mode: Option<u64>,
    id: Option<u64>,
    time: u64,
    records: Vec<u8>,
}

impl Next {
    fn record(&mut self, keyword: &[u8], value: &[u8]) {
        let rest = [b" ", keyword, b"=", value, b"\n"].concat();
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        self.records.extend(length.to_string().bytes().chain(rest));
    }

    fn entry(mut self, layer: &mut Vec<u8>, kind: u8, name: &[u8], rest: &[u8]) {
        let (flag, mode) = match kind {
            b'f' => (b'0', 0o644),
            b'd' => (b'5', 0o755),
            b'l' => (b'2', 0o777),
            b'h' => (b'1', 0o644),
            b'c' => (b'3', 0o600),
            b'b' => (b'4', 0o600),
            b'p' => (b'6', 0o600),
            other => (other, 0o644),
        };
        let (link, data) = if matches!(flag, b'1' | b'2') { (rest, &b""[..]) } else { (&b""[..], rest) };
        let data = if matches!(flag, b'3'..=b'6') { b"" } else { data };
        for (keyword, value) in [(&b"path"[..], name), (b"linkpath", link)] {
            if value.len() > 100 {
                self.record(keyword, value);
            }
        }
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            self.header(layer, b'x', (b"pax", b"", 0o644), &records);
        }
        self.header(layer, flag, (name, link, self.mode.unwrap_or(mode)), data);
    }

    fn header(&self, layer: &mut Vec<u8>, flag: u8, (name, link, mode): (&[u8], &[u8], u64), data: &[u8]) {
        let mut header = [0; BLOCK];
        let id = self.id.unwrap_or(0);
        let numbers = [(100, mode), (108, id), (116, id), (329, 1), (337, 3)];
        put(&mut header, 0, &name[..name.len().min(100)]);
        put(&mut header, 157, &link[..link.len().min(100)]);
        numbers.iter().for_each(|(at, number)| put(&mut header, *at, format!("{:07o}", number & 0o7777777).as_bytes()));
        put(&mut header, 124, format!("{:011o}", data.len()).as_bytes());
        put(&mut header, 136, format!("{:011o}", self.time & 0o77777777777).as_bytes());
        put(&mut header, 156, &[flag]);
        put(&mut header, 257, b"ustar\x0000");
        check(&mut header);
        layer.extend(header);
        layer.extend(data);
        layer.resize(layer.len().next_multiple_of(BLOCK), 0);
    }
}

fn expanded<'a>(word: &'a [u8], folder: &str) -> Cow<'a, [u8]> {
    match word.contains(&b'%') {
        true => word.split(|&b| b == b'%').collect::<Vec<_>>().join(folder.as_bytes()).into(),
        false => word.into(),
    }
}

fn octal(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|b| matches!(b, b'0'..=b'7'));
    digits.fold(0, |sum: u64, b| sum.wrapping_mul(8) + u64::from(b - b'0'))
}

fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn check(header: &mut [u8]) {
    put(header, 148, b"        ");
    let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
    put(header, 148, format!("{sum:06o}\0 ").as_bytes());
}
