//! Pseudo-random numbers and bytes that are the same for the same seed.

/// A generator of pseudo-random numbers (SplitMix64). Every seed is good.
pub struct Noise(u64);

impl Noise {
    /// Creates a generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// Returns bytes that do not compress.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.word().to_le_bytes());
        words.take(count).collect()
    }

    /// Returns a number of 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Returns bytes that do not compress, always the same ones. Fewer bytes are the beginning of more.
pub fn noise(count: usize) -> Vec<u8> {
    Noise::new(0).bytes(count)
}
