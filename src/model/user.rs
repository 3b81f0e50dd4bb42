use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;
use validator::{Validate, ValidateEmail, ValidationError};

use super::{Scope, Scopes, Timestamp, UserId};

/// The longest username, in bytes.
const MAX_USERNAME_BYTES: usize = 128;
/// The longest display name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest e-mail address, in characters (RFC 5321 leaves room for no more).
const MAX_EMAIL_CHARS: usize = 254;
/// The most roles a user has.
const MAX_ROLES: usize = 32;

/// Someone who can prove who they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Stays for ever; `sub` in JWTs.
    pub id: UserId,
    /// What they log in with: [`fold_username`]d, unique.
    pub username: String,
    /// What they are called; the username until it is set.
    pub name: Option<String>,
    /// Where mail reaches them; not verified.
    pub email: Option<String>,
    /// What they are.
    pub roles: Roles,
    /// Whether they may come in at all.
    pub status: Status,
    /// Whether the next login must choose another password.
    pub must_change_password: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When something above last changed.
    pub updated_at: Timestamp,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

impl User {
    /// What `updated_at` becomes with a change at this moment: later than with any before, since it tells versions apart.
    pub fn next_version(&self, now: Timestamp) -> Timestamp {
        now.max(self.updated_at.after(Duration::from_millis(1)))
    }

    /// Whether they can come in and do everything.
    pub fn is_active_admin(&self) -> bool {
        self.status == Status::Active && self.roles.contains(Roles::ADMIN)
    }

    /// What this user must do before anything else, if anything: the one place that decides it.
    pub fn pending_step(&self) -> Option<Step> {
        self.must_change_password.then_some(Step::ChangePassword)
    }

    /// Everything they are called: username, name, e-mail.
    pub fn names(&self) -> [Option<&str>; 3] {
        [Some(&self.username), self.name.as_deref(), self.email.as_deref()]
    }

    /// The name to show: the one they set, or else the username.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.username)
    }
}

/// Something that a user who has proved who they are must do before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Choose another password.
    ChangePassword,
}

/// Whether a user may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "TEXT", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Yes.
    Active,
    /// No: every credential is refused.
    Disabled,
}

impl Status {
    /// The word the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A stored password hash in the form its maker gave it. It shows itself nowhere and cannot be serialised.
#[derive(Clone, PartialEq, Eq, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct PasswordHash(pub String);

/// A password hash to be stored, with the scheme it was made by.
#[derive(Clone, Debug)]
pub struct HashedPassword {
    /// The hash.
    pub hash: PasswordHash,
    /// The function and what it costs, in words that are the same for the same scheme. Empty is not known.
    pub scheme: String,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The roles of a user: sorted, each once. It is kept and shown with single spaces between, serialised as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(Box<str>);

impl Roles {
    /// What a user has when nobody said otherwise.
    pub const DEFAULT: &'static str = "user";
    /// Who may do everything.
    pub const ADMIN: &'static str = "admin";

    /// Whether this role is among them.
    pub fn contains(&self, role: &str) -> bool {
        self.iter().any(|one| one == role)
    }

    /// Each role, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    /// What the roles allow here: `user` its own things and the directory, `admin` all. Other roles mean nothing to us.
    pub fn scopes(&self) -> Scopes {
        if self.contains(Self::ADMIN) {
            Scopes::all()
        } else if self.contains(Self::DEFAULT) {
            [Scope::Profile, Scope::UsersRead, Scope::Tokens].into_iter().collect()
        } else {
            Scopes::default()
        }
    }
}

impl<S: Into<String>> FromIterator<S> for Roles {
    fn from_iter<I: IntoIterator<Item = S>>(roles: I) -> Self {
        let roles: BTreeSet<String> = roles.into_iter().map(Into::into).collect();
        Self(Vec::from_iter(roles).join(" ").into())
    }
}

/// Reads the form the database keeps.
impl From<String> for Roles {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::<String>::deserialize(deserializer).map(Self::from_iter)
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// What it takes to make a user, the password aside. [`Validate`] tells whether it will do.
#[derive(Clone, Debug, Validate)]
pub struct NewUser {
    /// What they log in with; [`fold_username`] it first.
    #[validate(custom(function = username_rule))]
    pub username: String,
    /// What they are called.
    #[validate(custom(function = name_rule))]
    pub name: Option<String>,
    /// Where mail reaches them.
    #[validate(custom(function = email_rule))]
    pub email: Option<String>,
    /// What they are.
    #[validate(custom(function = roles_rule))]
    pub roles: Vec<String>,
    /// Whether they must choose another password first.
    pub must_change_password: bool,
}

/// What is to be changed of a user; what is none stays. [`Validate`] tells whether it will do.
#[derive(Clone, Debug, Default, Validate)]
pub struct UserPatch {
    /// What they are called; the username, if it is taken away.
    #[validate(custom(function = name_rule))]
    pub name: Option<Option<String>>,
    /// Where mail reaches them.
    #[validate(custom(function = email_rule))]
    pub email: Option<Option<String>>,
    /// What they are.
    #[validate(custom(function = roles_rule))]
    pub roles: Option<Vec<String>>,
    /// Whether they may come in.
    pub status: Option<Status>,
}

impl UserPatch {
    /// Whether it may take rights away.
    pub fn takes_rights(&self) -> bool {
        self.roles.is_some() || self.status.is_some()
    }

    /// The user as changed at this moment, which is later than any change before.
    pub fn apply(&self, user: &User, now: Timestamp) -> User {
        let patch = self.clone();
        User {
            name: patch.name.unwrap_or_else(|| user.name.clone()),
            email: patch.email.unwrap_or_else(|| user.email.clone()),
            roles: patch.roles.map_or_else(|| user.roles.clone(), |roles| roles.into_iter().collect()),
            status: patch.status.unwrap_or(user.status),
            updated_at: user.next_version(now),
            ..user.clone()
        }
    }
}

/// Which users are looked for; all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// What username, name or e-mail begins with, in any case.
    pub begins_with: Option<String>,
    /// A role they have.
    pub role: Option<String>,
    /// Whether they may come in.
    pub status: Option<Status>,
}

/// The one spelling of what people look for: that of usernames.
pub fn search_key(text: &str) -> String {
    fold_username(text)
}

/// The one spelling of a username: NFC and one case, so that `Zoë` and `zoë` are one person however they are typed. By way
/// of the upper case, since only that brings `ς` to `σ` and `ß` to `ss`.
pub fn fold_username(username: &str) -> String {
    if username.is_ascii() {
        // The same, and most names are.
        return username.to_ascii_lowercase();
    }
    username.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Whether anyone could have this username, folded: what breaks the rule is nobody's, and no database need be asked, which
/// might not even take the text (PostgreSQL has no place for a zero byte).
pub fn may_be_username(username: &str) -> bool {
    username_rule(username).is_ok()
}

/// A colon would end the name in HTTP Basic (RFC 7617); spaces and control characters hide in lists and logs.
pub(super) fn username_rule(username: &str) -> Result<(), ValidationError> {
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

/// A name that people give to something or someone.
pub(super) fn name_rule(name: &str) -> Result<(), ValidationError> {
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

/// Whether anyone could have this role.
pub fn may_be_role(role: &str) -> bool {
    role.len() <= 32
        && role.starts_with(|c: char| c.is_ascii_lowercase())
        && role.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-:.".contains(&b))
}

pub(super) fn email_rule(email: &str) -> Result<(), ValidationError> {
    if email.chars().count() > MAX_EMAIL_CHARS {
        Err(rule("too-long", "must be at most 254 characters"))
    } else if !email.validate_email() {
        Err(rule("malformed", "must be an e-mail address"))
    } else {
        Ok(())
    }
}

pub(super) fn roles_rule(roles: &[String]) -> Result<(), ValidationError> {
    if roles.len() > MAX_ROLES {
        Err(rule("too-long", "must be at most 32 roles"))
    } else if !roles.iter().all(|role| may_be_role(role)) {
        Err(rule("malformed", "must each start with a letter a-z and go on with a-z, 0-9, _ - : or ., at most 32"))
    } else {
        Ok(())
    }
}

/// What shows nothing or turns the text around: Unicode's `Default_Ignorable_Code_Point`, the line and paragraph
/// separators, the blank of Braille, and the code points that are no characters.
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
