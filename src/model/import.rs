use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use validator::Validate;

use super::user::{email_rule, name_rule, roles_rule, username_rule};
use super::{PasswordHash, Status, Timestamp, UserId};

/// The format of an import or export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CSV with a header line (RFC 4180).
    Csv,
    /// One JSON object per line.
    Ndjson,
}

/// A user in an export or import. [`Validate`] checks all but the password hash.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct UserRecord {
    /// The UUIDv7 of the user; absent, the import creates one.
    pub id: Option<UserId>,
    /// The name the user logs in with.
    #[validate(custom(function = username_rule))]
    pub username: String,
    /// The display name.
    #[validate(custom(function = name_rule))]
    pub name: Option<String>,
    /// The e-mail address.
    #[validate(custom(function = email_rule))]
    pub email: Option<String>,
    /// Whether the user has shown that mail to it reaches them.
    pub email_verified: Option<bool>,
    /// The roles: a list in JSON, words separated by spaces in CSV.
    #[serde(default, deserialize_with = "roles")]
    #[validate(custom(function = roles_rule))]
    pub roles: Option<Vec<String>>,
    /// Whether the user may log in.
    pub status: Option<Status>,
    /// Whether the user must change the password at the next login.
    pub must_change_password: Option<bool>,
    /// The hash of the password, in any format of `auth::passwords::formats`.
    pub password_hash: Option<PasswordHash>,
    /// When the user was created.
    pub created_at: Option<Timestamp>,
    /// When the user last logged in.
    pub last_login_at: Option<Timestamp>,
}

impl UserRecord {
    /// The names of the fields, in the order of an export.
    pub const FIELDS: [&'static str; 11] = [
        "id",
        "username",
        "name",
        "email",
        "email_verified",
        "roles",
        "status",
        "must_change_password",
        "password_hash",
        "created_at",
        "last_login_at",
    ];
}

/// Deserializes roles from a list (JSON) or from words separated by spaces (CSV).
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

/// What an import does with a row whose username exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Leave the user unchanged.
    #[default]
    Skip,
    /// Update the user with the fields that the row has.
    Update,
    /// Stop the import.
    Fail,
}

/// Whether a spreadsheet would take this text for a formula and run it, once its leading apostrophes are gone.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The text as a cell of a CSV file that somebody may open in a spreadsheet: an apostrophe in front makes a formula text.
pub fn to_csv_cell(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// The text of a cell that [`to_csv_cell`] wrote.
pub fn from_csv_cell(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_reads_as_it_was_written() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''=1", "'", "o'neill", "'tis", "zoë", ""] {
            let cell = to_csv_cell(text);
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
            assert_eq!(from_csv_cell(&cell), text);
        }
    }
}
