use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Timestamp;

macro_rules! ids {
    ($($(#[$doc:meta])* $Id:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $Id(pub Uuid);

        impl $Id {
            /// Creates a UUIDv7 (RFC 9562), so that ids sort by creation time.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.as_unix_millis(), &random).into_uuid())
            }
        }

        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $Id {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

impl BlockId {
    /// Makes an id of a hash: a UUIDv8 (RFC 9562).
    pub fn from_hash(hash: [u8; 16]) -> Self {
        Self(uuid::Builder::from_custom_bytes(hash).into_uuid())
    }
}

ids! {
    /// The id of a user.
    UserId,
    /// The id of a session: one login, its opaque token and its JWTs.
    SessionId,
    /// The id of a personal access token.
    TokenId,
    /// The id of a status list.
    StatusListId,
    /// The id of a mail that is to be sent.
    MailId,
    /// The id of a block: a network that may try no more passwords for a while.
    BlockId
}
