//! The cost parameters of argon2id, and the maximum cost of any hash.

use argon2::Params;

use crate::error::StartError;

/// The maximum work of a hash that is run, in KiB written: one pass over 1 GiB, or more passes over less.
pub const MAX_WORK: u64 = 1 << 20;

/// The cost of new password hashes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The memory, in KiB.
    pub memory_kib: u32,
    /// The number of passes over the memory.
    pub iterations: u32,
}

impl Cost {
    /// Checks that argon2id accepts these parameters, and that hashes made with them stay within the maximum work.
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

/// The work of argon2, in KiB written.
pub fn work(memory_kib: u32, iterations: u32) -> u64 {
    u64::from(memory_kib) * u64::from(iterations)
}
