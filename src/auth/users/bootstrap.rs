//! The first admin.
//!
//! Rule: while there is no admin, a setup token may create users; making an admin uses it up, in the same transaction.
//! Threat: a service that whoever comes first could own, or a way in that stays open.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{
        Auth, Creator,
        credentials::parse::{AuthScheme, RawCredential},
        random,
    },
    error::{Error, StartError},
    model::{NewUser, Roles, TokenHash},
};

/// The shortest setup token an operator may choose.
const MIN_TOKEN_BYTES: usize = 16;

/// How the first admin comes to be.
pub enum FirstAdmin {
    /// There is one.
    Exists,
    /// It was made just now, as the settings said.
    Created(String),
    /// There was one before; what the settings said of another was left alone.
    ExistedBefore,
    /// With this token, made now; it is shown this once.
    NewToken(SecretString),
    /// With the token the operator set.
    GivenToken,
    /// With the token that an earlier start showed.
    EarlierToken,
}

impl Auth {
    /// Makes sure that an admin can come to be: lays down the setup token that was given, or a new one, when there is no
    /// admin and none lies there.
    pub async fn prepare_first_admin(&self, given: Option<&SecretString>) -> Result<FirstAdmin, StartError> {
        if let Some(token) = given {
            check_given(token.expose_secret())?;
        }
        // Nothing is written where there is nothing to write: a server with a full disk still starts, and checks.
        if self.store.read().await?.has_admin().await? {
            return Ok(FirstAdmin::Exists);
        }
        let mut tx = self.store.write().await?;
        if tx.has_admin().await? {
            tx.delete_setup_token().await?;
            tx.commit().await?;
            return Ok(FirstAdmin::Exists);
        }
        let now = self.clock.now();
        let prepared = match given {
            Some(token) => {
                tx.delete_setup_token().await?;
                tx.add_setup_token(TokenHash::of(token.expose_secret().as_bytes()), now).await?;
                FirstAdmin::GivenToken
            }
            None => {
                let token = format!("setup_{}", URL_SAFE_NO_PAD.encode(random::<32>()));
                if tx.add_setup_token(TokenHash::of(token.as_bytes()), now).await? {
                    FirstAdmin::NewToken(token.into())
                } else {
                    FirstAdmin::EarlierToken
                }
            }
        };
        tx.commit().await?;
        Ok(prepared)
    }

    /// Creates the admin that the settings name, when there is none at all. Tells whether it did.
    pub async fn create_first_admin(&self, username: &str, password: &SecretString) -> Result<bool, StartError> {
        if self.store.read().await?.has_admin().await? {
            return Ok(false);
        }
        let roles = vec![Roles::DEFAULT.to_owned(), Roles::ADMIN.to_owned()];
        let admin =
            NewUser { username: username.to_owned(), name: None, email: None, roles, must_change_password: false };
        match self.create_user(Creator::Operator, admin, password, None).await {
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

    /// The setup token in this `Authorization` header, if it is one that may still be used.
    pub async fn setup_token(&self, header: &[u8]) -> Result<Option<TokenHash>, Error> {
        let Ok(RawCredential { scheme: AuthScheme::Bearer, value: token }) = RawCredential::in_header(header) else {
            return Ok(None);
        };
        let hash = TokenHash::of(token);
        Ok(self.store.read().await?.is_setup_token(hash).await?.then_some(hash))
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
