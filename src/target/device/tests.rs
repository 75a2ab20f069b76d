//! Tests of the order of writes, on media that lose writes, fail, or are cut off.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::medium::Medium;
use super::writer::{BLOCK, Counts, HEAD, Place, Writer};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

const SIZE: usize = 3 << 20;
const SECTOR: usize = 512;

/// What was done to a medium.
#[derive(Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Flush,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    /// Writes that a read sees until the cache is dropped, and that the medium does not keep.
    lost: Vec<(usize, Vec<u8>)>,
    steps: Vec<Step>,
    /// How many writes of the block at an offset are lost.
    loses: Option<(usize, usize)>,
    /// The number of the step that fails, counted from 0.
    fails_at: Option<usize>,
    can_punch: bool,
}

/// A medium in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn new(content: &[u8]) -> Self {
        let memory = Self::default();
        memory.with(|state| state.content = content.to_vec());
        memory
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn step(&self, step: Step) -> io::Result<()> {
        self.with(|state| {
            let number = state.steps.len();
            state.steps.push(step);
            if state.fails_at == Some(number) { Err(io::Error::other("failed")) } else { Ok(()) }
        })
    }
}

fn put(content: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(part) = content.get_mut(offset..offset + bytes.len()) {
        part.copy_from_slice(bytes);
    }
}

impl Medium for Memory {
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let mut seen = state.content.clone();
            state.lost.iter().for_each(|(at, bytes)| put(&mut seen, *at, bytes));
            let mut rest = seen.get(offset as usize..).unwrap_or_default();
            io::Read::read(&mut rest, buffer)
        })
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = offset as usize;
        self.step(Step::Write(offset, bytes.to_vec()))?;
        self.with(|state| {
            let before = state.content.clone();
            put(&mut state.content, offset, bytes);
            let Some((block, times)) = &mut state.loses else { return };
            if *times > 0 && (offset..offset + bytes.len()).contains(block) {
                *times -= 1;
                let range = *block..*block + BLOCK;
                let written = state.content.get(range.clone()).unwrap_or_default().to_vec();
                state.lost.push((*block, written));
                let (block, old) = (*block, before.get(range).unwrap_or_default().to_vec());
                put(&mut state.content, block, &old);
            }
        });
        Ok(())
    }

    fn punch(&mut self, offset: u64, length: u64) -> bool {
        self.with(|state| state.can_punch) && self.write(&vec![0; length as usize], offset).is_ok()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step(Step::Flush)
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.with(|state| state.content.len() as u64))
    }

    fn set_length(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&mut self) {
        self.with(|state| state.lost.clear());
    }

    fn reads_directly(&self) -> bool {
        true
    }
}

fn image(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|n| (n / 7).to_le_bytes().iter().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ byte) | 1).collect()
}

/// Writes an image as the client does.
fn write(memory: &Memory, image: &[u8], compared_until: u64) -> Result<Counts> {
    let place = Place {
        path: PathBuf::from("/dev/test"),
        capacity: Some(memory.with(|state| state.content.len() as u64)),
        sector: SECTOR,
        is_whole_disk: true,
        is_new: false,
    };
    let digest = Digest::sha256(image);
    let mut writer = Writer::new(Box::new(memory.clone()), place, digest);
    writer.restart(compared_until);
    let mut is_repair = false;
    loop {
        let mut rest = image;
        while !rest.is_empty() {
            let n = io::Read::read(&mut rest, writer.space()?).map_err(|e| Error::disk("read", "image", e))?;
            writer.advance(n);
        }
        writer.complete()?;
        if writer.read_back(digest.hasher(), &Cancel::default())? == digest {
            break;
        }
        if is_repair {
            return Err(writer.lost_writes(writer.first_difference().unwrap_or_default()));
        }
        is_repair = true;
        writer.restart(u64::MAX);
    }
    writer.publish_head(true)?;
    Ok(writer.counts())
}

#[track_caller]
fn assert_content(memory: &Memory, image: &[u8], before: &[u8]) {
    memory.with(|state| {
        assert!(state.content.starts_with(image), "not the image");
        assert!(state.content.get(image.len()..) == before.get(image.len()..), "the rest has changed");
    });
}

/// Asserts that content is the old image, the new one, or has no valid head.
fn check_cut(content: &[u8], old: &[u8], new: &[u8], case: &str) {
    let head = |image: &[u8]| content.get(..BLOCK.min(new.len())) == image.get(..BLOCK.min(new.len()));
    let is_valid = if head(old) || head(new) {
        content == old || content.starts_with(new)
    } else {
        content.starts_with(b"pullet: an image") || content.iter().take(SECTOR.min(new.len())).all(|byte| *byte == 0)
    };
    assert!(is_valid, "{case}");
}

/// Every state of a medium that a cut can leave: the writes since the last flush may be missing, alone or together, or be torn.
fn check_every_cut(old: &[u8], new: &[u8], compared_until: u64) {
    let memory = Memory::new(old);
    assert!(write(&memory, new, compared_until).is_ok());
    let steps = memory.with(|state| state.steps.clone());
    let (mut durable, mut waiting): (Vec<u8>, Vec<(usize, Vec<u8>)>) = (old.to_vec(), Vec::new());
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Flush => waiting.drain(..).for_each(|(at, bytes)| put(&mut durable, at, &bytes)),
            Step::Write(at, bytes) => waiting.push((at, bytes)),
        }
        let mut content = durable.clone();
        for (at, bytes) in &waiting {
            let mut alone = durable.clone();
            put(&mut alone, *at, bytes);
            check_cut(&alone, old, new, &format!("only one write at step {number}"));
            let mut torn = durable.clone();
            let half = bytes.len() / 2;
            put(&mut torn, at + half, bytes.get(half..).unwrap_or_default());
            // Half of the first block is not valid as a whole, and everything behind it is there.
            if *at > 0 || bytes.len() > BLOCK {
                check_cut(&torn, old, new, &format!("half a write at step {number}"));
            }
            put(&mut content, *at, bytes);
            check_cut(&content, old, new, &format!("the first writes at step {number}"));
        }
    }
    assert!(waiting.is_empty(), "writes without a flush at the end");
    assert_content(&memory, new, old);
}

#[test]
fn a_cut_leaves_the_old_image_or_the_new_one_or_no_valid_head() {
    let old = image(1, SIZE);
    for size in [1, 100, BLOCK, BLOCK + 1, HEAD - 1, HEAD, HEAD + 1, 1 << 20, SIZE - 5, SIZE] {
        check_every_cut(&old, &image(2, size), 0);
        check_every_cut(&old, &image(2, size), u64::MAX);
    }
    let mut near = old.clone();
    put(&mut near, 2 << 20, &[0; BLOCK]);
    check_every_cut(&old, &near, u64::MAX);
}

#[test]
fn a_failure_at_any_step_is_reported_and_leaves_no_valid_head() {
    let (old, new) = (image(1, SIZE), image(2, SIZE - 9));
    let count = {
        let memory = Memory::new(&old);
        assert!(write(&memory, &new, 0).is_ok());
        memory.with(|state| state.steps.len())
    };
    assert!(count > 8);
    for step in 0..count {
        let memory = Memory::new(&old);
        memory.with(|state| state.fails_at = Some(step));
        assert_eq!(write(&memory, &new, 0).map_err(|e| e.kind()).err(), Some(ErrorKind::Disk), "step {step}");
        memory.with(|state| {
            assert_eq!(state.steps.len(), step + 1, "it went on after step {step}");
            check_cut(&state.content, &old, &new, &format!("step {step}"));
            (state.fails_at, state.steps) = (None, Vec::new());
        });
        assert!(write(&memory, &new, 0).is_ok());
        assert_content(&memory, &new, &old);
    }
}

#[test]
fn a_device_that_loses_a_write_is_noticed() {
    let (old, new) = (image(1, SIZE), image(2, SIZE - 9));
    for block in [0, BLOCK, HEAD, 1 << 20, SIZE - BLOCK] {
        // The first write of the head makes it invalid. A device that loses that one loses nothing of the image.
        let is_head = block < HEAD;
        let lose = |times: usize| {
            let memory = Memory::new(&old);
            memory.with(|state| state.loses = Some((block, times + usize::from(is_head))));
            (write(&memory, &new, 0), memory)
        };
        let (written, memory) = lose(1);
        assert!(written.is_ok(), "block {block}");
        assert_content(&memory, &new, &old);
        let (written, memory) = lose(9);
        let error = written.err();
        assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::Disk), "block {block}");
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(
            text.contains("hardware error") && text.contains(&format!("at byte {}", if is_head { 0 } else { block })),
            "{text}"
        );
        if !is_head {
            memory.with(|state| check_cut(&state.content, &old, &new, "a device that loses writes"));
        }
    }
}

#[test]
fn only_what_differs_is_written() {
    let old = image(1, SIZE);
    let count = |new: &[u8], can_punch: bool| {
        let memory = Memory::new(&old);
        memory.with(|state| state.can_punch = can_punch);
        let counts = write(&memory, new, u64::MAX).ok();
        assert_content(&memory, new, &old);
        let steps = memory.with(|state| state.steps.len());
        (counts.map(|counts| (counts.written, counts.punched)), steps)
    };
    assert_eq!(count(&old, false), (Some((0, 0)), 0));
    let head = 2 * HEAD as u64 / BLOCK as u64;
    let changed = |blocks: &[usize]| {
        let mut new = old.clone();
        blocks.iter().for_each(|block| put(&mut new, block * BLOCK, &[0]));
        new
    };
    assert_eq!(count(&changed(&[0]), false).0, Some((head, 0)));
    assert_eq!(count(&changed(&[100, 700]), false).0, Some((head + 2, 0)));
    // Blocks that are close together are written with what is between them.
    assert_eq!(count(&changed(&[100, 104]), false).0, Some((head + 5, 0)));
    assert_eq!(count(&changed(&[100, 105]), false).0, Some((head + 2, 0)));
    let mut zeros = old.clone();
    put(&mut zeros, 1 << 20, &[0; 1 << 20]);
    assert_eq!(count(&zeros, true).0, Some((head, 256)));
    assert_eq!(count(&zeros, false).0, Some((head + 256, 0)));
}

#[test]
fn the_copy_of_a_partition_table_at_the_end_of_a_disk_is_cleared() {
    let mut old = image(1, SIZE);
    put(&mut old, SIZE - SECTOR, b"EFI PART");
    let cleared = |size: usize| {
        let memory = Memory::new(&old);
        assert!(write(&memory, &image(2, size), 0).is_ok());
        memory.with(|state| state.content.get(SIZE - SECTOR..) == Some(&[0; SECTOR]))
    };
    assert!(cleared(2 << 20) && cleared(2 * SECTOR));
    // An image that leaves the table as it is leaves the copy too.
    assert!(!cleared(SECTOR));
    let memory = Memory::new(&old);
    assert!(write(&memory, &old, u64::MAX).is_ok());
    assert_content(&memory, &old, &old);
}
