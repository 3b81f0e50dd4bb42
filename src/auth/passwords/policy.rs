//! The policy for new passwords.
//!
//! Rule: a password has a minimum and a maximum length, no control characters (HTTP Basic cannot carry them), is not a
//! name of its user, and is not a common password; no classes of characters are required. Threat: guessing.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::matching::patterns::MatchPattern;

use crate::auth::Auth;
use crate::error::FieldError;
use crate::model::fold_username;

/// The maximum length of a password, in bytes. It bounds the cost of hashing.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// The maximum length of a common password, in characters. Longer ones are in no list.
const MAX_COMMON_CHARS: usize = 32;

impl Auth {
    /// The fewest characters of a new password.
    pub fn password_min_length(&self) -> usize {
        self.settings.passwords.password_min_length
    }

    /// Checks a new password against the policy and returns the first violation. `own` are the names of the user:
    /// username, display name and e-mail address.
    pub(in crate::auth) fn check_policy(
        &self,
        field: &str,
        password: &SecretString,
        own: &[Option<&str>],
    ) -> Option<FieldError> {
        let fault = |code: &str, message: String| Some(FieldError::new(field, code, message));
        let (password, min) = (normalize(password), self.settings.passwords.password_min_length);
        if password.len() > MAX_PASSWORD_BYTES {
            fault("too-long", format!("must be at most {MAX_PASSWORD_BYTES} bytes"))
        } else if password.chars().count() < min {
            fault("too-short", format!("must have at least {min} characters"))
        } else if password.contains(char::is_control) {
            // HTTP Basic cannot carry it (RFC 7617, section 2).
            fault("malformed", "must have no control character".to_owned())
        } else if is_own_name(&password, own) {
            fault("own-name", "must not be a name of the user".to_owned())
        } else if is_common(&password) {
            fault("common", "is a common password".to_owned())
        } else {
            None
        }
    }
}

/// Returns whether the password is a name of the user, or the part of one before an `@`.
fn is_own_name(password: &str, own: &[Option<&str>]) -> bool {
    let password = Zeroizing::new(fold_username(password));
    own.iter()
        .flatten()
        .map(|name| fold_username(name))
        .any(|name| name == *password || name.split_once('@').is_some_and(|(mailbox, _)| mailbox == *password))
}

/// Returns whether the whole password is a single pattern of zxcvbn: a word of its lists of passwords, words and names,
/// also reversed or with digits for letters, a date, or a row of keys.
fn is_common(password: &str) -> bool {
    if password.chars().count() > MAX_COMMON_CHARS {
        return false;
    }
    let guessed = zxcvbn::zxcvbn(password, &[]);
    matches!(guessed.sequence(), [whole] if whole.pattern != MatchPattern::BruteForce)
}

/// Returns the form that is hashed: NFC, so that `é` is the same password however the keyboard composes it.
pub fn normalize(password: &SecretString) -> Zeroizing<String> {
    Zeroizing::new(password.expose_secret().nfc().collect())
}
