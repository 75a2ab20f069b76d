//! A hash table of node numbers, in four bytes a slot. The keys are in the nodes, so the table itself stores none.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// A slot without a node, and the number that no node has.
pub(super) const NONE: u32 = u32::MAX;
const FIRST_CAPACITY: usize = 1024;

/// A hash table with linear probing, of which at most three quarters are filled. Nodes are never removed, only replaced.
#[derive(Clone)]
pub(super) struct Table {
    slots: Vec<u32>,
    count: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { slots: vec![NONE; FIRST_CAPACITY], count: 0 }
    }

    /// Returns the node with this hash for which `is_same` is true.
    pub(super) fn find(&self, hash: u64, is_same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.start(hash);
        loop {
            match self.slots.get(at) {
                Some(&node) if node != NONE => {
                    if is_same(node) {
                        return Some(node);
                    }
                }
                _ => return None,
            }
            at = self.after(at);
        }
    }

    /// Adds a node, or puts it in the place of `old`. `hash_of` returns the hash of each node in the table.
    pub(super) fn insert(
        &mut self,
        node: u32,
        hash: u64,
        old: Option<u32>,
        hash_of: impl Fn(u32) -> u64,
    ) -> Result<()> {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow(hash_of)?;
        }
        let mut at = self.start(hash);
        loop {
            let slot = self.slots.get_mut(at).ok_or_else(out_of_range)?;
            if *slot == NONE || Some(*slot) == old {
                self.count += usize::from(*slot == NONE);
                *slot = node;
                return Ok(());
            }
            at = self.after(at);
        }
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) -> Result<()> {
        let larger = vec![NONE; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        for node in old.into_iter().filter(|node| *node != NONE) {
            let mut at = self.start(hash_of(node));
            while self.slots.get(at) != Some(&NONE) {
                at = self.after(at);
            }
            *self.slots.get_mut(at).ok_or_else(out_of_range)? = node;
        }
        Ok(())
    }

    fn start(&self, hash: u64) -> usize {
        // The number of slots is a power of two.
        hash as usize & (self.slots.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

/// The hash of a name in its directory.
pub(super) fn mixed(parent: u32, hash: u64) -> u64 {
    let mixed = hash ^ u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 20
}

/// A hash of its two halves.
pub(super) fn joined([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The number of the next element of a list with this length.
pub(super) fn index_of(length: usize) -> Result<u32> {
    match u32::try_from(length) {
        Ok(index) if index < NONE => Ok(index),
        _ => Err(Limits::exceeded("nodes of the merged tree", NONE - 1)),
    }
}

fn out_of_range() -> Error {
    Error::new(ErrorKind::Internal, "merge layers: position outside of the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_last() {
        let mut table = Table::new();
        // Few hashes, so that many nodes share one.
        let hash_of = |node: u32| u64::from(node % 700) * 3;
        for node in 0..5000 {
            table.insert(node, hash_of(node), None, hash_of).unwrap();
        }
        table.insert(6000, hash_of(17), Some(17), |node| hash_of(if node == 6000 { 17 } else { node })).unwrap();
        for node in (0..5000).filter(|node| *node != 17) {
            assert_eq!(table.find(hash_of(node), |other| other == node), Some(node));
        }
        assert_eq!(table.find(hash_of(17), |node| node == 17), None);
        assert_eq!(table.find(hash_of(17), |node| node == 6000), Some(6000));
    }
}
