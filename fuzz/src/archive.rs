//! Makes archives from fuzzer input: from lines of text, which are readable and mutate well, or from bytes, whose checksums
//! are corrected.
//!
//! A line has a kind, a name and arguments, separated by spaces: `f NAME TEXT`, `d NAME`, `l NAME TARGET`,
//! `h NAME TARGET`, `c NAME`, `b NAME`, `p NAME`. The lines `o MODE`, `u ID`, `t TIME` and `x KEYWORD VALUE` (a pax record)
//! set metadata of the next entry. `=` starts the next layer. Any other kind is the type flag of the header. `%` is replaced
//! by the watched folder.

use std::borrow::Cow;

use kit::archive::{Entry, set_checksum};

const BLOCK: usize = 512;

/// Returns the layers that a script describes, with `folder` in place of `%`.
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
            b"u" => next.id = octal(&name),
            b"t" => next.time = octal(&name),
            b"x" => next.records.push((name.into_owned(), rest.into_owned())),
            [kind, ..] => {
                let layer = layers.last_mut().expect("the list starts with one layer");
                layer.extend(std::mem::take(&mut next).entry(*kind, &name, &rest).bytes());
            }
            [] => {}
        }
    }
    layers
}

/// Returns the bytes with the checksum of each header corrected. Finds each header by the size in the previous one.
pub fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        let block: &mut [u8; BLOCK] = block.try_into().expect("a block has 512 bytes");
        if block.iter().any(|&b| b != 0) {
            set_checksum(block);
        }
        let size = octal(&block[124..135]);
        let data = if size > bytes.len() as u64 { 0 } else { (size as usize).next_multiple_of(BLOCK) };
        at += BLOCK + data;
    }
    bytes
}

/// The metadata that lines have set for the next entry.
#[derive(Default)]
struct Next {
    mode: Option<u64>,
    id: u64,
    time: u64,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Next {
    fn entry(self, kind: u8, name: &[u8], rest: &[u8]) -> Entry {
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
        // The numbers must fit into their octal fields.
        let mode = (self.mode.unwrap_or(mode) & 0o777_7777) as u32;
        let (id, time) = ((self.id & 0o777_7777) as i64, (self.time & 0o777_7777_7777) as i64);
        let entry = Entry::new(name, flag, mode).owner(id, id).mtime(time).device(1, 3);
        let entry = match flag {
            b'1' | b'2' => entry.link(rest),
            b'3'..=b'6' => entry,
            _ => entry.body(rest),
        };
        self.records.iter().fold(entry, |entry, (keyword, value)| entry.pax(keyword, value))
    }
}

fn expanded<'a>(word: &'a [u8], folder: &str) -> Cow<'a, [u8]> {
    if word.contains(&b'%') {
        word.split(|&b| b == b'%').collect::<Vec<_>>().join(folder.as_bytes()).into()
    } else {
        word.into()
    }
}

fn octal(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|b| matches!(b, b'0'..=b'7'));
    digits.fold(0, |sum: u64, b| sum.wrapping_mul(8) + u64::from(b - b'0'))
}
