//! Password hashes in the forms that software writes them: ours, and those that users bring along.
//!
//! Rule: what a stored hash is, its form says; one that cannot be read, or costs more than we would ever pay, is matched by
//! no password and never run. Threat: a hash so dear that checking it stops the service.
//!
//! | form | written by |
//! | --- | --- |
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, also `argon2i` and `argon2d` | us, argon2-cffi, passlib, PHP |
//! | `$2a$`, `$2b$`, `$2y$`, cost, salt and hash | bcrypt, passlib, PHP, Rails |
//! | `scrypt:N:r:p$salt$hex`, `pbkdf2:sha256:iterations$salt$hex` | Werkzeug |
//! | `pbkdf2_sha256$iterations$salt$base64`, `argon2$argon2id$…`, `bcrypt_sha256$$2b$…`, `bcrypt$$2b$…`, `scrypt$N$salt$r$p$base64` | Django |
//! | `$pbkdf2-sha256$iterations$salt$hash`, `$scrypt$ln=…,r=…,p=…$salt$hash` | passlib |
//!
//! Where PBKDF2 is written with SHA-256, SHA-1 and SHA-512 are read too.

use std::fmt;

use argon2::{
    Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash as Phc, Salt},
};
use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512},
};
use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

use crate::{
    auth::{passwords::hash_pool::Memory, random},
    model::{HashCost, HashedPassword, PasswordHash, hex},
};

/// The dearest bcrypt that is run: some two seconds.
const MAX_BCRYPT_COST: u32 = 15;
/// The dearest PBKDF2 that is run: some seconds.
const MAX_ITERATIONS: u32 = 10_000_000;
/// More lanes than this nobody gives one password.
const MAX_LANES: u32 = 64;
/// How much memory a worker keeps for the next password, in kibibytes: what one dear hash took goes back.
const MAX_KEPT_BLOCKS: usize = 128 * 1024;
/// The longest stored hash that is looked at, in bytes.
const MAX_TEXT: usize = 512;
/// The bytes of a bcrypt hash that are written down, and of its salt.
const BCRYPT_OUTPUT: usize = 23;
const BCRYPT_SALT: usize = 16;
/// bcrypt takes no more of a password than this, its closing zero included.
const BCRYPT_PASSWORD: usize = 72;

/// How a password was hashed: the function and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashScheme {
    /// RFC 9106.
    Argon2 { variant: argon2::Algorithm, version: Version, memory_kib: u32, iterations: u32, lanes: u32 },
    /// bcrypt, of the password or of the hexadecimal SHA-256 of it.
    Bcrypt { cost: u32, of_sha256: bool },
    /// RFC 7914.
    Scrypt { log_n: u8, r: u32, p: u32 },
    /// RFC 8018, section 5.2, with HMAC of this hash.
    Pbkdf2 { hash: Hash, iterations: u32 },
}

/// What PBKDF2 is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    fn parse(name: &str) -> Option<Self> {
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
    /// How new passwords are hashed.
    pub fn ours(cost: HashCost) -> Self {
        Self::Argon2 {
            variant: argon2::Algorithm::Argon2id,
            version: Version::V0x13,
            memory_kib: cost.memory_kib,
            iterations: cost.iterations,
            lanes: 1,
        }
    }

    /// Whether a hash of this scheme may stay when new ones cost this much: argon2id that is no cheaper.
    pub fn is_as_good_as(self, cost: HashCost) -> bool {
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

    /// Whether it costs no more than we would pay.
    fn within_limits(self) -> bool {
        match self {
            Self::Argon2 { memory_kib, iterations, lanes, .. } => {
                HashCost { memory_kib, iterations }.work() <= HashCost::MAX_WORK && lanes <= MAX_LANES
            }
            Self::Bcrypt { cost, .. } => (4..=MAX_BCRYPT_COST).contains(&cost),
            // 128 bytes a block; the two factors may be anything, so nothing may overflow.
            Self::Scrypt { log_n, r, p } => {
                let blocks = 1_u64.checked_shl(log_n.into()).and_then(|n| n.checked_mul(r.into()));
                let bytes = blocks.and_then(|blocks| blocks.checked_mul(128)?.checked_mul(p.into()));
                (1..=20).contains(&log_n) && bytes.is_some_and(|bytes| bytes / 1024 <= HashCost::MAX_WORK)
            }
            Self::Pbkdf2 { iterations, .. } => (1..=MAX_ITERATIONS).contains(&iterations),
        }
    }

    /// Whether software writes hashes of so many bytes: one that was cut, as by a column too narrow, is none.
    fn writes(self, length: usize) -> bool {
        match self {
            Self::Argon2 { .. } => (16..=64).contains(&length),
            Self::Bcrypt { .. } => length == BCRYPT_OUTPUT,
            Self::Scrypt { .. } => [32, 64].contains(&length),
            Self::Pbkdf2 { hash: Hash::Sha1, .. } => length == 20,
            Self::Pbkdf2 { hash: Hash::Sha256, .. } => length == 32,
            Self::Pbkdf2 { hash: Hash::Sha512, .. } => length == 64,
        }
    }

    /// Hashes a password with this salt to so many bytes; none when the function does not take them.
    pub fn run(self, memory: &mut Memory, password: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; length];
        match self {
            Self::Argon2 { variant, version, memory_kib, iterations, lanes } => {
                let params = Params::new(memory_kib, iterations, lanes, Some(length)).ok()?;
                let mut once = Memory::new();
                let memory = if params.block_count() > MAX_KEPT_BLOCKS { &mut once } else { memory };
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

/// bcrypt of a password that ends with a zero, of which it sees the first 72 bytes.
fn bcrypt(cost: u32, of_sha256: bool, password: &[u8], salt: &[u8]) -> Option<[u8; 24]> {
    let mut password = Zeroizing::new(if of_sha256 {
        hex(digest(&SHA256, password).as_ref()).into_bytes()
    } else {
        password.to_vec()
    });
    // A zero inside would end the password there.
    if password.contains(&0) {
        return None;
    }
    password.push(0);
    password.truncate(BCRYPT_PASSWORD);
    Some(bcrypt::bcrypt(cost, salt.try_into().ok()?, &password))
}

/// A stored hash that can be checked.
pub struct ParsedHash {
    /// How it was made.
    pub scheme: HashScheme,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl ParsedHash {
    /// Reads a hash; none when it is of no form we know, or would cost more than we pay.
    pub fn parse(hash: &PasswordHash) -> Option<Self> {
        let text = hash.0.as_str();
        if text.len() > MAX_TEXT {
            return None;
        }
        let stored = match text.split_once('$')? {
            ("", rest) => match rest.split_once('$')? {
                ("argon2id" | "argon2i" | "argon2d", _) => argon2(text),
                ("2a" | "2b" | "2y", rest) => bcrypt_parts(rest, false),
                ("scrypt", rest) => passlib_scrypt(rest),
                ("pbkdf2", rest) => passlib_pbkdf2(Hash::Sha1, rest),
                (name, rest) => passlib_pbkdf2(Hash::parse(name.strip_prefix("pbkdf2-")?)?, rest),
            },
            ("argon2", _) => argon2(text.strip_prefix("argon2")?),
            ("bcrypt", rest) => bcrypt_text(rest, false),
            ("bcrypt_sha256", rest) => bcrypt_text(rest, true),
            ("scrypt", rest) => django_scrypt(rest),
            (method, rest) => match method.strip_prefix("pbkdf2_") {
                Some(hash) => django_pbkdf2(Hash::parse(hash)?, rest),
                None => werkzeug(method, rest),
            },
        }?;
        let whole = stored.scheme.writes(stored.output.len()) && stored.scheme.within_limits();
        whole.then_some(stored)
    }

    /// A hash of this scheme that no password has.
    pub fn dummy(scheme: HashScheme) -> Self {
        let length = if matches!(scheme, HashScheme::Bcrypt { .. }) { BCRYPT_OUTPUT } else { 32 };
        Self {
            scheme,
            salt: random::<BCRYPT_SALT>().to_vec(),
            output: random::<32>().into_iter().take(length).collect(),
        }
    }

    /// Whether this is the hash of the password. Constant in time over what the hash is.
    pub fn verify(&self, memory: &mut Memory, password: &[u8]) -> bool {
        let output = self.scheme.run(memory, password, &self.salt, self.output.len());
        output.is_some_and(|output| constant_time::verify_slices_are_equal(&output, &self.output).is_ok())
    }
}

/// Adds to a hash the name of its scheme; `unreadable` when it is no hash that can be checked.
pub fn with_scheme(hash: PasswordHash) -> HashedPassword {
    let scheme = ParsedHash::parse(&hash).map_or("unreadable".to_owned(), |parsed| parsed.scheme.to_string());
    HashedPassword { hash, scheme }
}

/// A new hash of a password, as a PHC string.
pub(in crate::auth) fn hash(memory: &mut Memory, cost: HashCost, password: &[u8]) -> Option<HashedPassword> {
    let salt = random::<16>();
    let scheme = HashScheme::ours(cost);
    let output = scheme.run(memory, password, &salt, 32)?;
    let (salt, output) = (Salt::new(&salt).ok()?, Output::new(&output).ok()?);
    let HashCost { memory_kib, iterations } = cost;
    let hash = PasswordHash(format!("$argon2id$v=19$m={memory_kib},t={iterations},p=1${salt}${output}"));
    Some(HashedPassword { hash, scheme: scheme.to_string() })
}

/// PHC: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. One without a version is from before there were any.
fn argon2(text: &str) -> Option<ParsedHash> {
    let phc = Phc::new(text).ok()?;
    let params = Params::try_from(&phc).ok()?;
    let scheme = HashScheme::Argon2 {
        variant: argon2::Algorithm::new(phc.algorithm.as_str()).ok()?,
        version: phc.version.map_or(Ok(Version::V0x10), Version::try_from).ok()?,
        memory_kib: params.m_cost(),
        iterations: params.t_cost(),
        lanes: params.p_cost(),
    };
    Some(ParsedHash { scheme, salt: phc.salt?.as_ref().to_vec(), output: phc.hash?.as_ref().to_vec() })
}

/// `$2b$12$` and so on, whole.
fn bcrypt_text(text: &str, of_sha256: bool) -> Option<ParsedHash> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    bcrypt_parts(rest, of_sha256)
}

/// What follows `$2b$`: two digits, then 22 characters of salt and 31 of hash in an alphabet of its own.
fn bcrypt_parts(rest: &str, of_sha256: bool) -> Option<ParsedHash> {
    // Some writers leave the spare bits of the last character as they come.
    let base64 = GeneralPurpose::new(
        &alphabet::BCRYPT,
        GeneralPurposeConfig::new()
            .with_encode_padding(false)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(true),
    );
    let (cost, rest) = rest.split_once('$').filter(|(cost, _)| cost.len() == 2)?;
    let (salt, output) = rest.split_at_checked(22).filter(|(_, output)| output.len() == 31)?;
    Some(ParsedHash {
        scheme: HashScheme::Bcrypt { cost: number(cost)?, of_sha256 },
        salt: base64.decode(salt).ok()?,
        output: base64.decode(output).ok()?,
    })
}

/// `ln=…,r=…,p=…$salt$hash`.
fn passlib_scrypt(rest: &str) -> Option<ParsedHash> {
    let [params, salt, output] = fields(rest)?;
    let [log_n, r, p]: [&str; 3] = params.split(',').collect::<Vec<_>>().try_into().ok()?;
    let scheme = HashScheme::Scrypt {
        log_n: number(log_n.strip_prefix("ln=")?)?.try_into().ok()?,
        r: number(r.strip_prefix("r=")?)?,
        p: number(p.strip_prefix("p=")?)?,
    };
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).ok();
    Some(ParsedHash { scheme, salt: decode(salt)?, output: decode(output)? })
}

/// `iterations$salt$hash`, in base64 with `.` for `+`.
fn passlib_pbkdf2(hash: Hash, rest: &str) -> Option<ParsedHash> {
    let [iterations, salt, output] = fields(rest)?;
    let decode = |text: &str| STANDARD_NO_PAD.decode(text.replace('.', "+")).ok();
    let scheme = HashScheme::Pbkdf2 { hash, iterations: number(iterations)? };
    Some(ParsedHash { scheme, salt: decode(salt)?, output: decode(output)? })
}

/// `N$salt$r$p$base64`; the salt is text.
fn django_scrypt(rest: &str) -> Option<ParsedHash> {
    let [n, salt, r, p, output] = fields(rest)?;
    let scheme = HashScheme::Scrypt { log_n: log2(number(n)?)?, r: number(r)?, p: number(p)? };
    Some(ParsedHash { scheme, salt: salt.into(), output: STANDARD.decode(output).ok()? })
}

/// `iterations$salt$base64`; the salt is text.
fn django_pbkdf2(hash: Hash, rest: &str) -> Option<ParsedHash> {
    let [iterations, salt, output] = fields(rest)?;
    let scheme = HashScheme::Pbkdf2 { hash, iterations: number(iterations)? };
    Some(ParsedHash { scheme, salt: salt.into(), output: STANDARD.decode(output).ok()? })
}

/// `salt$hex` after `scrypt:N:r:p` or `pbkdf2:hash:iterations`; the salt is text.
fn werkzeug(method: &str, rest: &str) -> Option<ParsedHash> {
    let scheme = match *method.split(':').collect::<Vec<_>>() {
        ["scrypt", n, r, p] => HashScheme::Scrypt { log_n: log2(number(n)?)?, r: number(r)?, p: number(p)? },
        ["pbkdf2", hash, iterations] => {
            HashScheme::Pbkdf2 { hash: Hash::parse(hash)?, iterations: number(iterations)? }
        }
        _ => return None,
    };
    let [salt, output] = fields(rest)?;
    Some(ParsedHash { scheme, salt: salt.into(), output: from_hex(output)? })
}

/// Exactly so many fields between dollars.
fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}

/// A number in digits and nothing else.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn log2(n: u32) -> Option<u8> {
    n.is_power_of_two().then(|| n.trailing_zeros().try_into().ok())?
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests;
