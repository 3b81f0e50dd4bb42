//! The hash functions of stored passwords, and what they cost.
//!
//! Rule: a hash that exceeds the maximum cost is never run. Threat: a hash so expensive that checking it stops the service.

use std::fmt;

use argon2::{Argon2, Block, Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use zeroize::Zeroizing;

use crate::auth::passwords::hash_pool::Memory;
use crate::model::HashCost;

/// The maximum cost of bcrypt: some two seconds.
const MAX_BCRYPT_COST: u32 = 15;
/// The maximum iterations of PBKDF2: some seconds.
const MAX_ITERATIONS: u32 = 10_000_000;
/// The maximum lanes of argon2, far above practical values.
const MAX_LANES: u32 = 64;
/// The bytes of a password that bcrypt uses, its terminating NUL included.
const BCRYPT_PASSWORD: usize = 72;
/// The bytes of a bcrypt hash.
pub const BCRYPT_OUTPUT: usize = 23;

/// The hash function of a password hash, with its cost parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashScheme {
    /// argon2 (RFC 9106).
    Argon2 { variant: argon2::Algorithm, version: Version, memory_kib: u32, iterations: u32, lanes: u32 },
    /// bcrypt, of the password or of the hexadecimal SHA-256 of it.
    Bcrypt { cost: u32, of_sha256: bool },
    /// scrypt (RFC 7914).
    Scrypt { log_n: u8, r: u32, p: u32 },
    /// PBKDF2 (RFC 8018, section 5.2) with HMAC of this hash function.
    Pbkdf2 { hash: Hash, iterations: u32 },
}

/// A hash function for PBKDF2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// The name under which the database knows the scheme of a hash.
impl fmt::Display for HashScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2 { variant, version, memory_kib, iterations, lanes } => {
                let version = u32::from(*version);
                write!(f, "{variant} v={version} m={memory_kib} t={iterations} p={lanes}")
            }
            Self::Bcrypt { cost, of_sha256: false } => write!(f, "bcrypt {cost}"),
            Self::Bcrypt { cost, of_sha256: true } => write!(f, "bcrypt-sha256 {cost}"),
            Self::Scrypt { log_n, r, p } => write!(f, "scrypt ln={log_n} r={r} p={p}"),
            Self::Pbkdf2 { hash, iterations } => write!(f, "pbkdf2 {hash:?} {iterations}"),
        }
    }
}

impl HashScheme {
    /// Returns the scheme of new password hashes.
    pub fn ours(cost: HashCost) -> Self {
        Self::Argon2 {
            variant: argon2::Algorithm::Argon2id,
            version: Version::V0x13,
            memory_kib: cost.memory_kib,
            iterations: cost.iterations,
            lanes: 1,
        }
    }

    /// Returns whether a hash of this scheme is at least as strong as a new one: argon2id with no less work.
    pub fn is_at_least(self, cost: HashCost) -> bool {
        match self {
            Self::Argon2 {
                variant: argon2::Algorithm::Argon2id,
                version: Version::V0x13,
                memory_kib,
                iterations,
                ..
            } => HashCost { memory_kib, iterations }.work() >= cost.work(),
            _ => false,
        }
    }

    /// What a hash of the scheme costs: what argon2 would write in the same time, in KiB. On the machine of the benchmarks,
    /// argon2 takes 0.44 µs for a KiB, bcrypt 75 µs for each step of its 2^cost, scrypt 3.8 µs for a KiB, and PBKDF2 0.3 µs
    /// for an iteration, or 0.7 with SHA-512.
    pub fn work(self) -> u64 {
        match self {
            Self::Argon2 { memory_kib, iterations, .. } => HashCost { memory_kib, iterations }.work(),
            Self::Bcrypt { cost, .. } => (1 << cost.min(MAX_BCRYPT_COST)) * 171,
            Self::Scrypt { p, .. } => self.memory_kib().saturating_mul(u64::from(p) * 9),
            Self::Pbkdf2 { hash: Hash::Sha512, iterations } => u64::from(iterations) * 8 / 5,
            Self::Pbkdf2 { iterations, .. } => u64::from(iterations) * 7 / 10,
        }
    }

    /// The memory that a hash of the scheme takes, in KiB.
    pub fn memory_kib(self) -> u64 {
        match self {
            Self::Argon2 { memory_kib, .. } => memory_kib.into(),
            Self::Scrypt { log_n, r, .. } => u64::from(r).saturating_mul(128 << log_n.min(20)) / 1024,
            Self::Bcrypt { .. } | Self::Pbkdf2 { .. } => 4,
        }
    }

    /// Returns whether the cost is within the limits.
    pub fn is_within_limits(self) -> bool {
        match self {
            Self::Argon2 { memory_kib, iterations, lanes, .. } => {
                HashCost { memory_kib, iterations }.work() <= HashCost::MAX_WORK && lanes <= MAX_LANES
            }
            Self::Bcrypt { cost, .. } => (4..=MAX_BCRYPT_COST).contains(&cost),
            // A block has 128 bytes. r and p are arbitrary, so the multiplications are checked.
            Self::Scrypt { log_n, r, p } => {
                let blocks = 1_u64.checked_shl(log_n.into()).and_then(|n| n.checked_mul(r.into()));
                let bytes = blocks.and_then(|blocks| blocks.checked_mul(128)?.checked_mul(p.into()));
                (1..=20).contains(&log_n) && bytes.is_some_and(|bytes| bytes / 1024 <= HashCost::MAX_WORK)
            }
            Self::Pbkdf2 { iterations, .. } => (1..=MAX_ITERATIONS).contains(&iterations),
        }
    }

    /// Returns whether hashes of the scheme have this length in bytes. It detects hashes truncated by a narrow column.
    pub fn has_output_len(self, length: usize) -> bool {
        match self {
            Self::Argon2 { .. } => (16..=64).contains(&length),
            Self::Bcrypt { .. } => length == BCRYPT_OUTPUT,
            Self::Scrypt { .. } => [32, 64].contains(&length),
            Self::Pbkdf2 { hash: Hash::Sha1, .. } => length == 20,
            Self::Pbkdf2 { hash: Hash::Sha256, .. } => length == 32,
            Self::Pbkdf2 { hash: Hash::Sha512, .. } => length == 64,
        }
    }

    /// Hashes a password to `length` bytes. Returns `None` when the function rejects the input.
    pub fn run(self, memory: &mut Memory, password: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; length];
        match self {
            Self::Argon2 { variant, version, memory_kib, iterations, lanes } => {
                let params = Params::new(memory_kib, iterations, lanes, Some(length)).ok()?;
                if memory.len() < params.block_count() {
                    memory.resize(params.block_count(), Block::new());
                }
                let argon2 = Argon2::new(variant, version, params);
                argon2.hash_password_into_with_memory(password, salt, &mut output, memory).ok()?;
            }
            Self::Bcrypt { cost, of_sha256 } => {
                output = bcrypt(cost, of_sha256, password, salt)?.get(..length)?.to_vec();
            }
            Self::Scrypt { log_n, r, p } => {
                let params = scrypt::Params::new(log_n, r, p).ok()?;
                scrypt::scrypt(password, salt, &params, &mut output).ok()?;
            }
            Self::Pbkdf2 { hash, iterations } => {
                let algorithm = match hash {
                    Hash::Sha1 => PBKDF2_HMAC_SHA1,
                    Hash::Sha256 => PBKDF2_HMAC_SHA256,
                    Hash::Sha512 => PBKDF2_HMAC_SHA512,
                };
                pbkdf2::derive(algorithm, iterations.try_into().ok()?, salt, password, &mut output);
            }
        }
        Some(output)
    }
}

/// Runs bcrypt on a password with a terminating NUL. bcrypt uses the first 72 bytes of both.
pub(super) fn bcrypt(cost: u32, of_sha256: bool, password: &[u8], salt: &[u8]) -> Option<[u8; 24]> {
    let mut password =
        Zeroizing::new(if of_sha256 { hex::encode(digest(&SHA256, password)).into_bytes() } else { password.to_vec() });
    // bcrypt would ignore what follows an embedded NUL.
    if password.contains(&0) {
        return None;
    }
    password.push(0);
    password.truncate(BCRYPT_PASSWORD);
    Some(bcrypt::bcrypt(cost, salt.try_into().ok()?, &password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_argon2_in_the_same_time() {
        let scrypt = HashScheme::Scrypt { log_n: 14, r: 8, p: 1 };
        assert_eq!((scrypt.memory_kib(), scrypt.work()), (16_384, 147_456));
        assert_eq!(HashScheme::Scrypt { log_n: 14, r: 8, p: 3 }.work(), 442_368);
        let pbkdf2 = |hash| HashScheme::Pbkdf2 { hash, iterations: 100_000 };
        assert_eq!([Hash::Sha1, Hash::Sha256, Hash::Sha512].map(|hash| pbkdf2(hash).work()), [70_000, 70_000, 160_000]);
        assert_eq!(HashScheme::Bcrypt { cost: 10, of_sha256: false }.work(), 175_104);
        assert_eq!(HashScheme::Bcrypt { cost: 40, of_sha256: false }.work(), 32_768 * 171, "no more is ever run");
        let least = HashScheme::Bcrypt { cost: 10, of_sha256: true }.memory_kib();
        assert_eq!((least, pbkdf2(Hash::Sha256).memory_kib()), (4, 4));
    }

    fn argon2(memory_kib: u32, iterations: u32, lanes: u32) -> HashScheme {
        let variant = argon2::Algorithm::Argon2id;
        HashScheme::Argon2 { variant, version: Version::V0x13, memory_kib, iterations, lanes }
    }

    #[test]
    fn a_hash_is_run_up_to_the_limit_and_not_beyond() {
        let pbkdf2 = |iterations| HashScheme::Pbkdf2 { hash: Hash::Sha256, iterations };
        let bcrypt = |cost| HashScheme::Bcrypt { cost, of_sha256: false };
        let scrypt = |log_n, r, p| HashScheme::Scrypt { log_n, r, p };
        for within in [
            argon2(1 << 20, 1, 64),
            argon2(1 << 19, 2, 1),
            bcrypt(4),
            bcrypt(15),
            scrypt(1, 1, 1),
            scrypt(20, 8, 1),
            scrypt(10, 1024, 8),
            pbkdf2(1),
            pbkdf2(10_000_000),
        ] {
            assert!(within.is_within_limits(), "{within}");
        }
        for beyond in [
            argon2((1 << 20) + 1, 1, 1),
            argon2(1 << 19, 3, 1),
            argon2(1 << 20, 1, 65),
            argon2(8, 1, 65),
            bcrypt(3),
            bcrypt(16),
            scrypt(0, 8, 1),
            scrypt(21, 1, 1),
            scrypt(20, 9, 1),
            scrypt(20, u32::MAX, u32::MAX),
            scrypt(255, 8, 1),
            pbkdf2(0),
            pbkdf2(10_000_001),
        ] {
            assert!(!beyond.is_within_limits(), "{beyond}");
        }
    }

    #[test]
    fn only_argon2id_with_no_less_work_is_as_strong_as_a_new_hash() {
        let cost = HashCost { memory_kib: 64, iterations: 2 };
        let other = |variant, version| HashScheme::Argon2 { variant, version, memory_kib: 64, iterations: 2, lanes: 1 };
        assert!(argon2(64, 2, 1).is_at_least(cost) && argon2(128, 1, 4).is_at_least(cost));
        for weaker in [
            argon2(127, 1, 1),
            other(argon2::Algorithm::Argon2i, Version::V0x13),
            other(argon2::Algorithm::Argon2id, Version::V0x10),
            HashScheme::Bcrypt { cost: 15, of_sha256: false },
            HashScheme::Scrypt { log_n: 20, r: 8, p: 1 },
            HashScheme::Pbkdf2 { hash: Hash::Sha512, iterations: 10_000_000 },
        ] {
            assert!(!weaker.is_at_least(cost), "{weaker}");
        }
    }

    #[test]
    fn a_scheme_has_a_name_and_hashes_of_its_length() {
        let pbkdf2 = |hash| HashScheme::Pbkdf2 { hash, iterations: 7 };
        for (scheme, name, lengths) in [
            (argon2(64, 2, 3), "argon2id v=19 m=64 t=2 p=3", &[16, 17, 63, 64][..]),
            (HashScheme::Bcrypt { cost: 4, of_sha256: false }, "bcrypt 4", &[23]),
            (HashScheme::Bcrypt { cost: 4, of_sha256: true }, "bcrypt-sha256 4", &[23]),
            (HashScheme::Scrypt { log_n: 10, r: 8, p: 2 }, "scrypt ln=10 r=8 p=2", &[32, 64]),
            (pbkdf2(Hash::Sha1), "pbkdf2 Sha1 7", &[20]),
            (pbkdf2(Hash::Sha256), "pbkdf2 Sha256 7", &[32]),
            (pbkdf2(Hash::Sha512), "pbkdf2 Sha512 7", &[64]),
        ] {
            assert_eq!(scheme.to_string(), name);
            for length in [0, 15, 16, 17, 19, 20, 21, 22, 23, 24, 31, 32, 33, 63, 64, 65] {
                let is_its = lengths.contains(&length)
                    || matches!(scheme, HashScheme::Argon2 { .. }) && (16..65).contains(&length);
                assert_eq!(scheme.has_output_len(length), is_its, "{name} {length}");
            }
        }
        assert_eq!(HashScheme::Scrypt { log_n: 40, r: 8, p: 1 }.memory_kib(), 1 << 20, "no more is ever run");
        assert_eq!(argon2(64, 2, 3).memory_kib(), 64);
        assert_eq!(argon2(64, 2, 3).work(), 128);
    }
}
