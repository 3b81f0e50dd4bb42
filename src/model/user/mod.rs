mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use validator::Validate;

pub(super) use self::rules::{email_rule, name_rule, roles_rule, username_rule};
pub use self::rules::{fold_username, is_deliverable, is_valid_email, is_valid_role, is_valid_username};
use crate::model::{Scope, Scopes, Timestamp, UserId};

/// A user account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// The id, which never changes; `sub` in JWTs.
    pub id: UserId,
    /// The unique name the user logs in with, in the form of [`fold_username`].
    pub username: String,
    /// The display name, if set.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether the user has shown that mail to it reaches them. Of a verified address there is one user.
    #[serde(default)]
    pub email_verified: bool,
    /// The roles.
    pub roles: Roles,
    /// Whether the user may log in.
    pub status: Status,
    /// Whether the user must change the password at the next login.
    pub must_change_password: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When a field above, or the password, last changed. It is the version of the user.
    pub updated_at: Timestamp,
    /// When the user last logged in.
    pub last_login_at: Option<Timestamp>,
}

impl User {
    /// A new active user with no more than a username, and no role.
    pub fn new(id: UserId, username: String, now: Timestamp) -> Self {
        Self {
            id,
            username,
            name: None,
            email: None,
            email_verified: false,
            roles: Roles::default(),
            status: Status::Active,
            must_change_password: false,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        }
    }

    /// Returns the `updated_at` of a change at `now`. It is later than the current one, because it is the version.
    pub fn next_version(&self, now: Timestamp) -> Timestamp {
        now.max(self.updated_at.after(Duration::from_millis(1)))
    }

    /// Returns whether the user has the role `admin` and is not disabled.
    pub fn is_active_admin(&self) -> bool {
        self.status == Status::Active && self.roles.contains(Roles::ADMIN)
    }

    /// Returns the step that the user must complete before anything else. Only this function decides it.
    pub fn pending_step(&self) -> Option<Step> {
        self.must_change_password.then_some(Step::ChangePassword)
    }

    /// Returns username, display name and e-mail address, which a password must not repeat.
    pub fn names(&self) -> [Option<&str>; 3] {
        [Some(&self.username), self.name.as_deref(), self.email.as_deref()]
    }

    /// Returns the e-mail address, if it is verified.
    pub fn verified_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified)
    }

    /// Returns the display name, or else the username.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.username)
    }
}

/// A step that an authenticated user must complete before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Change the password.
    ChangePassword,
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "TEXT", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The user may log in.
    Active,
    /// Every credential of the user is refused.
    Disabled,
}

impl Status {
    /// The word used in the database and in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A password hash in the format of the software that wrote it. `Debug` hides it, and it cannot be serialized.
#[derive(Clone, PartialEq, Eq, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct PasswordHash(pub String);

impl PasswordHash {
    /// What is stored for a user who has no password yet. It is no hash, so no password matches it; as in `/etc/shadow`, and
    /// in Django, it begins with an exclamation mark.
    pub const NONE: &'static str = "!";

    /// The hash of a user who has no password yet.
    pub fn none() -> Self {
        Self(Self::NONE.to_owned())
    }

    /// Whether there is no password.
    pub fn is_none(&self) -> bool {
        self.0 == Self::NONE
    }
}

/// A password hash to be stored, with the scheme it was made by.
#[derive(Clone, Debug)]
pub struct HashedPassword {
    /// The hash.
    pub hash: PasswordHash,
    /// The function and what it costs, in words that are the same for the same scheme. Empty is not known.
    pub scheme: String,
}

/// What a password is checked against, and whose it is.
#[derive(Clone, Debug)]
pub struct StoredPassword {
    /// The id of the user.
    pub id: UserId,
    /// The username, whatever the user was found by.
    pub username: String,
    /// The hash.
    pub hash: PasswordHash,
    /// Whether the user may log in.
    pub status: Status,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The roles of a user, sorted and unique. The stored form is separated by single spaces, the serialized one a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(Box<str>);

impl Roles {
    /// The role of a new user, unless others are given.
    pub const DEFAULT: &'static str = "user";
    /// The role whose JWTs have the e-mail address.
    pub const EMAIL: &'static str = "email";
    /// The role that has all scopes.
    pub const ADMIN: &'static str = "admin";

    /// Returns whether the user has this role.
    pub fn contains(&self, role: &str) -> bool {
        self.iter().any(|one| one == role)
    }

    /// Iterates over the roles in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    /// Returns the scopes that a role grants: `admin` all but `email`, `user` the caller's own data and the directory, `email` that JWTs have
    /// the address. Other roles are for applications and grant none.
    pub fn scopes_of(role: &str) -> Scopes {
        match role {
            // Not that of the address: a token from before there was that scope would lack a scope of the role.
            Self::ADMIN => Scopes::of_admins(),
            Self::DEFAULT => [Scope::Profile, Scope::UsersRead, Scope::Tokens].into_iter().collect(),
            Self::EMAIL => [Scope::Email].into_iter().collect(),
            _ => Scopes::default(),
        }
    }

    /// Returns the scopes of all the roles.
    pub fn scopes(&self) -> Scopes {
        self.iter().map(Self::scopes_of).fold(Scopes::default(), Scopes::or)
    }
}

impl<S: Into<String>> FromIterator<S> for Roles {
    fn from_iter<I: IntoIterator<Item = S>>(roles: I) -> Self {
        let roles: BTreeSet<String> = roles.into_iter().map(Into::into).collect();
        Self(Vec::from_iter(roles).join(" ").into())
    }
}

/// Wraps the form that the database stores.
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

/// The fields of a new user, without the password. [`Validate`] checks them.
#[derive(Clone, Debug, Validate)]
pub struct NewUser {
    /// The name to log in with, in the form of [`fold_username`].
    #[validate(custom(function = username_rule))]
    pub username: String,
    /// The display name.
    #[validate(custom(function = name_rule))]
    pub name: Option<String>,
    /// The e-mail address.
    #[validate(custom(function = email_rule))]
    pub email: Option<String>,
    /// The roles.
    #[validate(custom(function = roles_rule))]
    pub roles: Vec<String>,
    /// Whether the user must change the password at the first login.
    pub must_change_password: bool,
}

/// A partial update of a user; `None` leaves a field unchanged. [`Validate`] checks it.
#[derive(Clone, Debug, Default, Validate)]
pub struct UserPatch {
    /// The display name; `Some(None)` removes it.
    #[validate(custom(function = name_rule))]
    pub name: Option<Option<String>>,
    /// The e-mail address; `Some(None)` removes it.
    #[validate(custom(function = email_rule))]
    pub email: Option<Option<String>>,
    /// The roles.
    #[validate(custom(function = roles_rule))]
    pub roles: Option<Vec<String>>,
    /// Whether the user may log in.
    pub status: Option<Status>,
}

impl UserPatch {
    /// Returns whether the patch may revoke rights of the user.
    pub fn may_revoke_rights(&self) -> bool {
        self.roles.is_some() || self.status.is_some()
    }

    /// Returns the changed user, with the next version at `now`.
    pub fn apply(&self, user: &User, now: Timestamp) -> User {
        let patch = self.clone();
        let email = patch.email.unwrap_or_else(|| user.email.clone());
        User {
            name: patch.name.unwrap_or_else(|| user.name.clone()),
            // Another address is to be verified anew.
            email_verified: user.email_verified && email == user.email,
            email,
            roles: patch.roles.map_or_else(|| user.roles.clone(), |roles| roles.into_iter().collect()),
            status: patch.status.unwrap_or(user.status),
            updated_at: user.next_version(now),
            ..user.clone()
        }
    }
}

/// A filter of users. A user must match all conditions.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// A prefix of the username, display name or e-mail address; case is ignored.
    pub begins_with: Option<String>,
    /// A role of the user.
    pub role: Option<String>,
    /// Whether the user may log in.
    pub status: Option<Status>,
}
