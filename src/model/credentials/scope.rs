use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A permission of a credential (RFC 6749, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Read and change the caller's own data.
    Profile = 1,
    /// Read the directory.
    UsersRead = 1 << 1,
    /// List and revoke the caller's own sessions and tokens.
    Tokens = 1 << 2,
    /// Introspect and revoke any token.
    Introspect = 1 << 3,
    /// Everything under `/admin`.
    Admin = 1 << 4,
    /// The e-mail address in the JWT. The role `email` grants it.
    Email = 1 << 5,
}

impl Scope {
    /// All scopes, in the order of lists.
    pub const ALL: [Self; 6] =
        [Self::Profile, Self::UsersRead, Self::Tokens, Self::Introspect, Self::Admin, Self::Email];

    /// The name of the scope in tokens and responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::UsersRead => "users:read",
            Self::Tokens => "tokens",
            Self::Introspect => "introspect",
            Self::Admin => "admin",
            Self::Email => "email",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// The error of parsing a word that is not a scope.
#[derive(Debug)]
pub struct UnknownScope;

/// A set of scopes, as a bit set. It displays as in OAuth, separated by spaces, and serializes as a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// The set of all scopes.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// The scopes of the role `admin`.
    pub fn of_admins() -> Self {
        Scope::ALL.into_iter().filter(|scope| *scope != Scope::Email).collect()
    }

    /// Returns whether the set contains `scope`.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Returns the intersection with `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the union with `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set is a subset of `other`.
    pub fn are_within(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// Iterates over the scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

/// Parses the form of OAuth, which the database stores. Unknown words are ignored: they may be former scopes.
impl From<String> for Scopes {
    fn from(text: String) -> Self {
        text.split(' ').filter_map(|word| word.parse().ok()).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let scopes: Result<Self, UnknownScope> = names.iter().map(|name| name.parse::<Scope>()).collect();
        scopes.map_err(|_| serde::de::Error::custom("not a scope"))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::as_str))
    }
}
