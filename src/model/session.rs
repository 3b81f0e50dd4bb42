use std::net::IpAddr;

use uuid::Uuid;

use super::{SessionId, StatusListId, Timestamp, User, UserId};

/// One login: its opaque token and every JWT issued in it live and end together.
#[derive(Clone, Debug)]
pub struct Session {
    /// `sid` in JWTs.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to within a minute or so; when it began, if it was not used since.
    pub last_seen_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Where it was begun.
    pub address: String,
    /// With what it was begun.
    pub user_agent: Option<String>,
}

/// A session that has neither ended nor run out, with what a request needs of it.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// Which.
    pub id: SessionId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, as far as the database knows.
    pub last_seen_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Where its revocation would be seen.
    pub status: Option<StatusIndex>,
    /// Whose.
    pub user: User,
}

/// A place in a status list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusIndex {
    /// The list.
    pub list: StatusListId,
    /// The bit in it.
    pub idx: u32,
}

/// A status list: an array of bits in which sessions have places.
#[derive(Clone, Copy, Debug)]
pub struct StatusList {
    /// Which.
    pub id: StatusListId,
    /// How many places it has.
    pub size: u32,
    /// How many revocations it has seen.
    pub version: i64,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The address of the peer.
    pub address: IpAddr,
    /// The request's id, as in its answer and in the log.
    pub request_id: Uuid,
}

/// Where a login comes from.
#[derive(Clone, Debug)]
pub struct Client {
    /// The request.
    pub origin: Origin,
    /// `User-Agent`, cut to a length worth keeping.
    pub user_agent: Option<String>,
}
