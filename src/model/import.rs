use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use validator::Validate;

use super::{
    PasswordHash, Status, Timestamp, UserId,
    user::{email_rule, name_rule, roles_rule, username_rule},
};

/// How users are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With a header line (RFC 4180).
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// A user as an export writes them and an import reads them. [`Validate`] tells whether it will do, the hash aside.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct UserRecord {
    /// A UUIDv7 to keep; a new one, if it is not given.
    pub id: Option<UserId>,
    /// What they log in with.
    #[validate(custom(function = username_rule))]
    pub username: String,
    /// What they are called.
    #[validate(custom(function = name_rule))]
    pub name: Option<String>,
    /// Where mail reaches them.
    #[validate(custom(function = email_rule))]
    pub email: Option<String>,
    /// What they are: a list, or words with spaces between.
    #[serde(default, deserialize_with = "roles")]
    #[validate(custom(function = roles_rule))]
    pub roles: Option<Vec<String>>,
    /// Whether they may come in.
    pub status: Option<Status>,
    /// Whether they must choose another password first.
    pub must_change_password: Option<bool>,
    /// The hash of their password, as its source wrote it.
    pub password_hash: Option<PasswordHash>,
    /// When they were made.
    pub created_at: Option<Timestamp>,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

impl UserRecord {
    /// The names of the fields, in the order in which an export writes them.
    pub const FIELDS: [&'static str; 10] = [
        "id",
        "username",
        "name",
        "email",
        "roles",
        "status",
        "must_change_password",
        "password_hash",
        "created_at",
        "last_login_at",
    ];
}

/// Reads roles from JSON, where they are a list, and from CSV, where they are words.
fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct RolesVisitor;

    impl<'de> Visitor<'de> for RolesVisitor {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("roles")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            let roles: Vec<String> = text.split_ascii_whitespace().map(ToOwned::to_owned).collect();
            Ok(Some(roles).filter(|roles| !roles.is_empty()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut roles = Vec::new();
            while let Some(role) = list.next_element()? {
                roles.push(role);
            }
            Ok(Some(roles))
        }
    }

    deserializer.deserialize_any(RolesVisitor)
}

/// What to do with a row whose username somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Leave them as they are.
    #[default]
    Skip,
    /// Change them to what the row says; what it does not say stays.
    Update,
    /// Stop there.
    Fail,
}
