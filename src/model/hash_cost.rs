/// What an argon2id hash costs.
#[derive(Clone, Copy, Debug)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
}

impl HashCost {
    /// The least memory that argon2 takes with one lane, in KiB (RFC 9106, section 3.1).
    pub const MIN_MEMORY_KIB: u32 = 8;
    /// The most memory of a hash that is ever run, in KiB: 1 GiB.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;
    /// The most [`HashCost::work`] of a hash that is ever run: one pass over 1 GiB, or more passes over less.
    pub const MAX_WORK: u64 = 1 << 20;

    /// What a hash costs by default.
    pub const USUAL: Self = Self { memory_kib: 19_456, iterations: 2 };

    /// How much argon2 writes, in KiB.
    pub fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.iterations)
    }
}
