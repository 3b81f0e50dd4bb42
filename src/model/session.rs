use std::net::IpAddr;

use super::{SessionId, Timestamp, TokenHash, UserId};

/// One login: its opaque token and every JWT issued in it live and end together.
#[derive(Clone, Debug)]
pub struct Session {
    /// `sid` in JWTs.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// The opaque token, hashed.
    pub token_hash: TokenHash,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Where it came from.
    pub client: Client,
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address of the peer.
    pub address: IpAddr,
    /// `User-Agent`, cut to a length worth keeping.
    pub user_agent: Option<String>,
}
