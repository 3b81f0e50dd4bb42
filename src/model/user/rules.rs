//! What is valid in the fields of a user, and how names are compared.

use unicode_normalization::UnicodeNormalization;
use validator::{ValidateEmail, ValidationError};

/// The maximum length of a username, in bytes.
const MAX_USERNAME_BYTES: usize = 128;
/// The maximum length of a display name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The maximum length of an e-mail address, in characters, by the limits of RFC 5321.
const MAX_EMAIL_CHARS: usize = 254;
/// The maximum number of roles of a user.
const MAX_ROLES: usize = 32;

/// Returns the canonical form of a username, and what searches compare of names and e-mail addresses: NFC and lower case, so
/// that `Zoë` and `zoë` are one user. It converts to upper case first, because only that maps `ς` to `σ` and `ß` to `ss`.
pub fn fold_username(username: &str) -> String {
    if username.is_ascii() {
        // A fast path with the same result, because most usernames are ASCII.
        return username.to_ascii_lowercase();
    }
    username.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Returns whether a folded username is valid. Nobody has an invalid one, so the database need not be queried;
/// PostgreSQL would even refuse a text with a NUL byte.
pub fn is_valid_username(username: &str) -> bool {
    username_rule(username).is_ok()
}

/// Validates a username. A colon would end it in HTTP Basic (RFC 7617); spaces and control characters are invisible in
/// lists and logs.
pub(in crate::model) fn username_rule(username: &str) -> Result<(), ValidationError> {
    let forbidden = |c: char| c == ':' || c.is_whitespace() || c.is_control() || is_invisible(c);
    if username.is_empty() {
        Err(rule("required", "must not be empty"))
    } else if username.len() > MAX_USERNAME_BYTES {
        Err(rule("too-long", "must be at most 128 bytes"))
    } else if username.contains(forbidden) {
        Err(rule("malformed", "must have no colon, space or invisible character"))
    } else {
        Ok(())
    }
}

/// Validates the display name of a user, or the name of a token.
pub(in crate::model) fn name_rule(name: &str) -> Result<(), ValidationError> {
    if name.trim().is_empty() {
        Err(rule("required", "must not be empty"))
    } else if name.len() > MAX_NAME_BYTES {
        Err(rule("too-long", "must be at most 256 bytes"))
    } else if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        Err(rule("malformed", "must have no control or invisible character"))
    } else {
        Ok(())
    }
}

/// Returns whether a role is valid.
pub fn is_valid_role(role: &str) -> bool {
    role.len() <= 32
        && role.starts_with(|c: char| c.is_ascii_lowercase())
        && role.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-:.".contains(&b))
}

/// Returns whether this has the form of an e-mail address.
pub fn is_valid_email(email: &str) -> bool {
    email_rule(email).is_ok()
}

/// Returns whether mail can be sent to this address, and the address be verified. Others than ASCII need a mail server that
/// few have (RFC 6531), and two that fold to the same text may be two people's: `straße.de` is not `strasse.de`.
pub fn is_deliverable(email: &str) -> bool {
    email.is_ascii() && is_valid_email(email)
}

pub(in crate::model) fn email_rule(email: &str) -> Result<(), ValidationError> {
    if email.chars().count() > MAX_EMAIL_CHARS {
        Err(rule("too-long", "must be at most 254 characters"))
    } else if email.contains(|c: char| c.is_control() || c.is_whitespace() || is_invisible(c) || "[]".contains(c))
        || !email.validate_email()
    {
        // An address with an IP in brackets is none of a person, and the validator looks at its end alone.
        Err(rule("malformed", "must be an e-mail address"))
    } else {
        Ok(())
    }
}

pub(in crate::model) fn roles_rule(roles: &[String]) -> Result<(), ValidationError> {
    if roles.len() > MAX_ROLES {
        Err(rule("too-long", "must be at most 32 roles"))
    } else if !roles.iter().all(|role| is_valid_role(role)) {
        Err(rule("malformed", "must each start with a letter a-z and go on with a-z, 0-9, _ - : or ., at most 32"))
    } else {
        Ok(())
    }
}

/// Returns whether a character is invisible or changes the direction of text: Unicode's `Default_Ignorable_Code_Point`,
/// the line and paragraph separators, the Braille blank and the noncharacters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || (u32::from(c) & 0xfffe) == 0xfffe
}

fn rule(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}
