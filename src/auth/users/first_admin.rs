//! The first administrator.
//!
//! Rule: while there is no administrator, the setup token may create users; creating an administrator uses it up, in the same
//! transaction. The setup token is a one-time secret of nobody in particular.
//! Threats: an installation that belongs to the first stranger who finds it, and a setup token that works for ever.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::credentials::parse::{AuthScheme, RawCredential};
use crate::auth::{Auth, Creator, Password, random};
use crate::error::{Error, StartError};
use crate::model::{NewUser, Roles, SecretPurpose, TokenHash};

/// The shortest setup token an operator may choose, in bytes.
const MIN_TOKEN_BYTES: usize = 16;

/// How the first administrator comes to be.
pub enum FirstAdmin {
    /// There is an administrator already.
    Exists,
    /// This one was created just now, as the settings said.
    Created(String),
    /// There was an administrator before, so the settings created none.
    ExistedBefore,
    /// With this new setup token, to be shown this once.
    NewToken(SecretString),
    /// With the setup token that the operator set.
    GivenToken,
    /// With the setup token that an earlier start showed.
    EarlierToken,
}

impl Auth {
    /// Makes sure that a first administrator can be created: stores the given setup token, or a new one, when there is neither
    /// an administrator nor a setup token.
    pub async fn prepare_first_admin(&self, given: Option<&SecretString>) -> Result<FirstAdmin, StartError> {
        if let Some(token) = given {
            check_given(token.expose_secret())?;
        }
        // This writes only when it must: a server whose disk is full still starts, and checks credentials.
        if self.store.read().await?.has_admin().await? {
            return Ok(FirstAdmin::Exists);
        }
        let (now, purpose) = (self.clock.now(), SecretPurpose::Setup);
        let mut tx = self.store.write().await?;
        if tx.has_admin().await? {
            tx.use_up_secret(purpose, None, now).await?;
            tx.commit().await?;
            return Ok(FirstAdmin::Exists);
        }
        let prepared = match given {
            Some(token) => {
                tx.delete_secrets(purpose, None).await?;
                let hash = TokenHash::of(token.expose_secret().as_bytes());
                tx.insert_secret(purpose, None, hash, now, None).await?;
                FirstAdmin::GivenToken
            }
            None => {
                let token = format!("setup_{}", URL_SAFE_NO_PAD.encode(random::<32>()));
                if tx.insert_secret(purpose, None, TokenHash::of(token.as_bytes()), now, None).await? {
                    FirstAdmin::NewToken(token.into())
                } else {
                    FirstAdmin::EarlierToken
                }
            }
        };
        tx.commit().await?;
        Ok(prepared)
    }

    /// Whether there is an administrator.
    pub async fn has_admin(&self) -> Result<bool, Error> {
        self.store.read().await?.has_admin().await
    }

    /// Creates the administrator that the settings name, unless there is one. Returns whether it did.
    pub async fn create_first_admin(&self, username: &str, password: &SecretString) -> Result<bool, StartError> {
        if self.store.read().await?.has_admin().await? {
            return Ok(false);
        }
        let roles = vec![Roles::DEFAULT.to_owned(), Roles::ADMIN.to_owned()];
        let admin =
            NewUser { username: username.to_owned(), name: None, email: None, roles, must_change_password: false };
        match self.create_user(Creator::Operator, admin, Password::Given(password), None).await {
            Ok(_) => Ok(true),
            // Another server starting on the same database was first.
            Err(Error::UsernameTaken) if self.store.read().await?.has_admin().await? => Ok(false),
            Err(Error::UsernameTaken) => Err(StartError::setting(
                "COUNTERSIGN_ADMIN_USERNAME",
                "this user exists and is no active admin; choose another name",
            )),
            Err(Error::Invalid(fields)) => Err(fields.first().map_or_else(
                || StartError("the admin cannot be created".into()),
                |field| {
                    let name = if field.field == "password" { "PASSWORD" } else { "USERNAME" };
                    StartError::setting(&format!("COUNTERSIGN_ADMIN_{name}"), &field.message)
                },
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The hash of the setup token in this `Authorization` header, if it is live and there is no administrator. A server that
    /// starts just when another creates the administrator may store a token after that; such a token is worth nothing.
    pub async fn setup_token(&self, header: &[u8]) -> Result<Option<TokenHash>, Error> {
        let Ok(RawCredential { scheme: AuthScheme::Bearer, value: token }) = RawCredential::in_header(header) else {
            return Ok(None);
        };
        let (hash, mut conn) = (TokenHash::of(token), self.store.read().await?);
        let is_live = conn.is_live_secret(SecretPurpose::Setup, hash, self.clock.now()).await?;
        Ok((is_live && !conn.has_admin().await?).then_some(hash))
    }
}

/// A token that can be sent as a bearer (RFC 6750, section 2.1) and is not a word someone would guess.
pub(in crate::auth) fn check_given(token: &str) -> Result<(), StartError> {
    let sendable = token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    if sendable && token.len() >= MIN_TOKEN_BYTES {
        return Ok(());
    }
    Err(StartError::setting(
        "COUNTERSIGN_SETUP_TOKEN",
        "must be at least 16 of A-Z a-z 0-9 - . _ ~ + / =; make one with: openssl rand -hex 32",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_token_can_be_sent_as_a_bearer_and_is_long() {
        for good in ["0123456789abcdef", "A-z._~+/=0123456", &"x".repeat(500)] {
            assert!(check_given(good).is_ok(), "{good}");
        }
        for bad in
            ["", "0123456789abcde", "0123456789abcdef ", "0123456789abcdé0", "0123456789abcde\n", "0123456789:abcdef"]
        {
            assert!(check_given(bad).is_err(), "{bad}");
        }
    }
}
