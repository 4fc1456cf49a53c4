//! The memory of a caller that packs its structures or not, filled by chance of which the same seed makes the same.

use core::ops::RangeInclusive;
use std::collections::HashMap;

use cryptoki_sys::*;

/// Chance that can be had twice.
#[derive(Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.number() % (range.end() - range.start() + 1)
    }

    pub(super) fn one_in(&mut self, number: u64) -> bool {
        self.within(1..=number) == 1
    }

    pub(super) fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.within(0..=all.len() as u64 - 1) as usize]
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }
}

/// Where the words of a body are: all of them, and interpreted, which takes its time, some.
pub(super) fn places(body: &[u8], chance: &mut Chance) -> Vec<usize> {
    let step = if cfg!(miri) { 12 } else { 1 };
    let start = chance.within(0..=step - 1) as usize;
    (0..body.len() / 8).skip(start).step_by(step as usize).map(|word| word * 8).collect()
}

/// What comes after each block, and is nobody's to write to.
const BEHIND: [u8; 32] = *b"what is not the call's to change";

struct Block {
    bytes: Vec<u8>,
    shift: usize,
    /// Where pointers are, which are another's in another memory.
    pointers: Vec<usize>,
}

/// A caller's memory.
pub(super) struct Memory {
    pub(super) chance: Chance,
    blocks: Vec<Block>,
    /// Numbers that arguments state of others before them, by name.
    stated: HashMap<String, CK_ULONG>,
}

impl Memory {
    pub(super) fn of(seed: u64) -> Self {
        Self { chance: Chance::of(seed), blocks: Vec::new(), stated: HashMap::new() }
    }

    /// Puts `content` into a block of its own.
    pub(super) fn block(&mut self, content: &[u8]) -> *mut u8 {
        let shift = self.chance.within(0..=1) as usize;
        let mut bytes = Vec::with_capacity(shift + content.len() + BEHIND.len());
        bytes.resize(shift, 0);
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&BEHIND);
        self.blocks.push(Block { bytes, shift, pointers: Vec::new() });
        let block = self.blocks.last_mut().unwrap();
        // SAFETY: inside the block.
        unsafe { block.bytes.as_mut_ptr().add(shift) }
    }

    /// Writes a pointer into a block.
    pub(super) fn point(&mut self, block: *mut u8, offset: usize, target: *mut u8) {
        let of = |candidate: &&mut Block| {
            // SAFETY: inside the block.
            unsafe { candidate.bytes.as_ptr().add(candidate.shift) }.addr() == block.addr()
        };
        self.blocks.iter_mut().find(of).unwrap().pointers.push(offset);
        // SAFETY: a place for a pointer inside the block.
        unsafe { block.add(offset).cast::<*mut u8>().write_unaligned(target) };
    }

    pub(super) fn state(&mut self, name: String, number: CK_ULONG) {
        self.stated.insert(name, number);
    }

    pub(super) fn stated(&self, name: &str) -> Option<CK_ULONG> {
        self.stated.get(name).copied()
    }

    /// Whether nothing was written behind a block.
    pub(super) fn is_intact(&self) -> bool {
        self.blocks.iter().all(|block| block.bytes.ends_with(&BEHIND))
    }

    /// All there is, but for pointers.
    pub(super) fn content(&self) -> Vec<Vec<u8>> {
        let content = |block: &Block| {
            let is_pointer =
                |at: usize| block.pointers.iter().any(|pointer| (*pointer..pointer + 8).contains(&at));
            (0..block.bytes.len() - block.shift)
                .filter(|at| !is_pointer(*at))
                .map(|at| block.bytes[block.shift + at])
                .collect()
        };
        self.blocks.iter().map(content).collect()
    }
}
