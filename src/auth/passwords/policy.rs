//! What a new password must be.
//!
//! Rule: long enough, not too long to hash, nothing HTTP Basic could not carry, not what its user is called, and not among
//! those that are guessed first; nothing is asked of the kinds of its characters. Threat: guessing.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::matching::patterns::MatchPattern;

use crate::{auth::Auth, error::FieldError, model::fold_username};

/// The longest password, in bytes; a limit, so that hashing one costs no more than the next.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// The longest password that is looked for among common ones, in characters.
const MAX_COMMON_CHARS: usize = 32;

impl Auth {
    /// What is wrong with a new password, if anything. `own` is what its user is called: username, name and e-mail.
    pub(in crate::auth) fn password_rule(
        &self,
        field: &str,
        password: &SecretString,
        own: &[Option<&str>],
    ) -> Option<FieldError> {
        let fault = |code: &str, message: String| Some(FieldError::new(field, code, message));
        let (password, least) = (normal(password), self.settings.passwords.password_min_length);
        if password.len() > MAX_PASSWORD_BYTES {
            fault("too-long", format!("must be at most {MAX_PASSWORD_BYTES} bytes"))
        } else if password.chars().count() < least {
            fault("too-short", format!("must have at least {least} characters"))
        } else if password.contains(char::is_control) {
            // HTTP Basic could not carry it (RFC 7617, section 2).
            fault("malformed", "must have no control character".to_owned())
        } else if is_own_name(&password, own) {
            fault("own-name", "must not be what the user is called".to_owned())
        } else if is_common(&password) {
            fault("common", "is among those that are guessed first".to_owned())
        } else {
            None
        }
    }
}

/// Whether this is the user's own username, name or e-mail, or what the latter begins with.
fn is_own_name(password: &str, own: &[Option<&str>]) -> bool {
    let password = Zeroizing::new(fold_username(password));
    own.iter()
        .flatten()
        .map(|name| fold_username(name))
        .any(|name| name == *password || name.split_once('@').is_some_and(|(mailbox, _)| mailbox == *password))
}

/// Whether the whole of it is one thing that is guessed first: a word of zxcvbn's lists of passwords, words and names, also
/// backwards or with digits for letters, a date, or a row of keys. Longer ones are in no list.
fn is_common(password: &str) -> bool {
    if password.chars().count() > MAX_COMMON_CHARS {
        return false;
    }
    let guessed = zxcvbn::zxcvbn(password, &[]);
    matches!(guessed.sequence(), [whole] if whole.pattern != MatchPattern::BruteForce)
}

/// The bytes that are hashed: NFC, so that `é` is the same password however the keyboard composes it.
pub fn normal(password: &SecretString) -> Zeroizing<String> {
    Zeroizing::new(password.expose_secret().nfc().collect())
}
