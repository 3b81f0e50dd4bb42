//! The formats of stored password hashes: our own, and those of imported users.
//!
//! Rule: the text of a stored hash names its function and cost; a hash that cannot be parsed, or exceeds the maximum
//! cost, matches no password and is never run. Threat: a hash so expensive that checking it stops the service.
//!
//! | format | written by |
//! | --- | --- |
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, also `argon2i` and `argon2d` | us, argon2-cffi, passlib, PHP |
//! | `$2a$`, `$2b$`, `$2y$`, cost, salt and hash | bcrypt, passlib, PHP, Rails |
//! | `scrypt:N:r:p$salt$hex`, `pbkdf2:sha256:iterations$salt$hex` | Werkzeug |
//! | `pbkdf2_sha256$iterations$salt$base64`, `argon2$argon2id$…`, `bcrypt_sha256$$2b$…`, `bcrypt$$2b$…`, `scrypt$N$salt$r$p$base64` | Django |
//! | `$pbkdf2-sha256$iterations$salt$hash`, `$scrypt$ln=…,r=…,p=…$salt$hash` | passlib |
//!
//! Where PBKDF2 is listed with SHA-256, SHA-1 and SHA-512 are supported too.

use argon2::password_hash::phc::{Output, PasswordHash as Phc, Salt};
use argon2::{Params, Version};
use aws_lc_rs::constant_time;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use base64::{Engine, alphabet};

use crate::auth::passwords::hash_pool::Memory;
use crate::auth::passwords::hash_scheme::{BCRYPT_OUTPUT, Hash, HashScheme};
use crate::auth::random;
use crate::model::{HashCost, HashedPassword, PasswordHash};

/// The maximum length of a stored hash, in bytes.
const MAX_HASH_LEN: usize = 512;
/// The bytes of a bcrypt salt.
const BCRYPT_SALT: usize = 16;

/// A parsed password hash.
pub struct ParsedHash {
    /// The function that made the hash, and its cost.
    pub scheme: HashScheme,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl ParsedHash {
    /// Parses a hash. Returns `None` when its format is unknown or its cost exceeds the limits.
    pub fn parse(hash: &PasswordHash) -> Option<Self> {
        let text = hash.0.as_str();
        if text.len() > MAX_HASH_LEN {
            return None;
        }
        let parsed = match text.split_once('$')? {
            ("", rest) => match rest.split_once('$')? {
                ("argon2id" | "argon2i" | "argon2d", _) => argon2(text),
                ("2a" | "2b" | "2y", _) => bcrypt_text(text, false),
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
        let is_valid = parsed.scheme.has_output_len(parsed.output.len()) && parsed.scheme.is_within_limits();
        is_valid.then_some(parsed)
    }

    /// Returns a random hash of this scheme, which no password matches.
    pub fn dummy(scheme: HashScheme) -> Self {
        let length = if matches!(scheme, HashScheme::Bcrypt { .. }) { BCRYPT_OUTPUT } else { 32 };
        Self {
            scheme,
            salt: random::<BCRYPT_SALT>().to_vec(),
            output: random::<32>().into_iter().take(length).collect(),
        }
    }

    /// Returns whether the password has this hash. The comparison takes constant time.
    pub fn verify(&self, memory: &mut Memory, password: &[u8]) -> bool {
        let output = self.scheme.run(memory, password, &self.salt, self.output.len());
        output.is_some_and(|output| constant_time::verify_slices_are_equal(&output, &self.output).is_ok())
    }
}

/// Adds the name of its scheme to a hash; `unreadable` when it cannot be checked.
pub fn with_scheme(hash: PasswordHash) -> HashedPassword {
    let scheme = ParsedHash::parse(&hash).map_or("unreadable".to_owned(), |parsed| parsed.scheme.to_string());
    HashedPassword { hash, scheme }
}

/// Hashes a new password with argon2id and returns the PHC string.
pub(in crate::auth) fn hash(memory: &mut Memory, cost: HashCost, password: &[u8]) -> Option<HashedPassword> {
    let salt = random::<16>();
    let scheme = HashScheme::ours(cost);
    let output = scheme.run(memory, password, &salt, 32)?;
    let (salt, output) = (Salt::new(&salt).ok()?, Output::new(&output).ok()?);
    let HashCost { memory_kib, iterations } = cost;
    let hash = PasswordHash(format!("$argon2id$v=19$m={memory_kib},t={iterations},p=1${salt}${output}"));
    Some(HashedPassword { hash, scheme: scheme.to_string() })
}

/// Parses a PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. A string without a version has version 0x10.
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

/// Parses `$2b$12$…`: two digits of cost, then 22 characters of salt and 31 of hash in bcrypt's own base64.
fn bcrypt_text(text: &str, of_sha256: bool) -> Option<ParsedHash> {
    // Some implementations do not clear the spare bits of the last character.
    let base64 = GeneralPurpose::new(
        &alphabet::BCRYPT,
        GeneralPurposeConfig::new()
            .with_encode_padding(false)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(true),
    );
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$').filter(|(cost, _)| cost.len() == 2)?;
    let (salt, output) = rest.split_at_checked(22).filter(|(_, output)| output.len() == 31)?;
    Some(ParsedHash {
        scheme: HashScheme::Bcrypt { cost: number(cost)?, of_sha256 },
        salt: base64.decode(salt).ok()?,
        output: base64.decode(output).ok()?,
    })
}

/// Parses `ln=…,r=…,p=…$salt$hash`.
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

/// Parses `iterations$salt$hash`, in base64 with `.` for `+`.
fn passlib_pbkdf2(hash: Hash, rest: &str) -> Option<ParsedHash> {
    let [iterations, salt, output] = fields(rest)?;
    let decode = |text: &str| STANDARD_NO_PAD.decode(text.replace('.', "+")).ok();
    let scheme = HashScheme::Pbkdf2 { hash, iterations: number(iterations)? };
    Some(ParsedHash { scheme, salt: decode(salt)?, output: decode(output)? })
}

/// Parses `N$salt$r$p$base64`; the salt is text.
fn django_scrypt(rest: &str) -> Option<ParsedHash> {
    let [n, salt, r, p, output] = fields(rest)?;
    let scheme = HashScheme::Scrypt { log_n: log2(number(n)?)?, r: number(r)?, p: number(p)? };
    Some(ParsedHash { scheme, salt: salt.into(), output: STANDARD.decode(output).ok()? })
}

/// Parses `iterations$salt$base64`; the salt is text.
fn django_pbkdf2(hash: Hash, rest: &str) -> Option<ParsedHash> {
    let [iterations, salt, output] = fields(rest)?;
    let scheme = HashScheme::Pbkdf2 { hash, iterations: number(iterations)? };
    Some(ParsedHash { scheme, salt: salt.into(), output: STANDARD.decode(output).ok()? })
}

/// Parses `salt$hex` after `scrypt:N:r:p` or `pbkdf2:hash:iterations`; the salt is text.
fn werkzeug(method: &str, rest: &str) -> Option<ParsedHash> {
    let scheme = match *method.split(':').collect::<Vec<_>>() {
        ["scrypt", n, r, p] => HashScheme::Scrypt { log_n: log2(number(n)?)?, r: number(r)?, p: number(p)? },
        ["pbkdf2", hash, iterations] => {
            HashScheme::Pbkdf2 { hash: Hash::parse(hash)?, iterations: number(iterations)? }
        }
        _ => return None,
    };
    let [salt, output] = fields(rest)?;
    Some(ParsedHash { scheme, salt: salt.into(), output: hex::decode(output).ok()? })
}

/// Splits at `$` into exactly `N` fields.
fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}

/// Parses a decimal number without a sign, which `str::parse` would accept.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn log2(n: u32) -> Option<u8> {
    n.is_power_of_two().then(|| n.trailing_zeros().try_into().ok())?
}

#[cfg(test)]
mod tests;
