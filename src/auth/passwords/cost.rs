//! What a password hash costs, and the most that is ever paid for one.

use argon2::Params;

use crate::error::StartError;

/// The dearest hash that is run, in kibibytes written: 1 GiB, or as many passes over less.
pub const MAX_WORK: u64 = 1 << 20;

/// What a new hash costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
}

impl Cost {
    /// Checks that argon2id takes these figures, and that a hash made with them will be run when it comes back.
    pub fn new(memory_kib: u32, iterations: u32) -> Result<Self, StartError> {
        if !(Params::MIN_M_COST..=MAX_WORK as u32).contains(&memory_kib) {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_MEMORY_KIB",
                "must be from 8 to 1048576; 19456 is a good figure",
            ));
        }
        if iterations == 0 || work(memory_kib, iterations) > MAX_WORK {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_ITERATIONS",
                "must be at least 1, and times ARGON2_MEMORY_KIB at most 1048576; 2 is a good figure",
            ));
        }
        Ok(Self { memory_kib, iterations })
    }
}

/// What argon2 writes: this many kibibytes.
pub fn work(memory_kib: u32, iterations: u32) -> u64 {
    u64::from(memory_kib) * u64::from(iterations)
}
