use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a credential may do here (RFC 6749, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Read and change one's own data.
    Profile = 1,
    /// Read the directory.
    UsersRead = 1 << 1,
    /// See and end one's own sessions and tokens.
    Tokens = 1 << 2,
    /// Ask whose a token is, and revoke any.
    Introspect = 1 << 3,
    /// Everything under `/admin`.
    Admin = 1 << 4,
}

impl Scope {
    /// Every scope, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Profile, Self::UsersRead, Self::Tokens, Self::Introspect, Self::Admin];

    /// The scope as it is written in tokens and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::UsersRead => "users:read",
            Self::Tokens => "tokens",
            Self::Introspect => "introspect",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// A word that is no scope.
#[derive(Debug)]
pub struct UnknownScope;

/// A set of scopes. It is shown as OAuth writes it, with spaces, and serialised as a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// All there are.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether this one is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Those that are also in the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the other has all of these.
    pub fn are_within(self, other: Self) -> bool {
        self.and(other) == self
    }

    /// Those in the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

/// Reads the form the database keeps, which is that of OAuth; a word that is no scope any more counts for nothing.
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
