use std::net::IpAddr;

use uuid::Uuid;

use crate::model::{SessionId, StatusListId, Timestamp, User, UserId};

/// One login: its opaque token and all its JWTs are valid only as long as the session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `sid` in JWTs.
    pub id: SessionId,
    /// The user who logged in.
    pub user_id: UserId,
    /// When the session began.
    pub created_at: Timestamp,
    /// When the session was last used, to within a minute or so; its beginning, if not used since.
    pub last_seen_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
    /// The IP address of the login.
    pub address: String,
    /// The `User-Agent` of the login.
    pub user_agent: Option<String>,
}

/// A session that has neither ended nor expired, with what a request needs of it.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// `sid` in JWTs.
    pub id: SessionId,
    /// When the session began.
    pub created_at: Timestamp,
    /// When the session was last used, as far as the database knows.
    pub last_seen_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
    /// The bit that a revocation of the session sets.
    pub status: Option<StatusIndex>,
    /// The user who logged in.
    pub user: User,
}

/// The position of a bit in a status list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusIndex {
    /// The list.
    pub list: StatusListId,
    /// The index of the bit.
    pub idx: u32,
}

/// A status list: an array of bits, one for each session.
#[derive(Clone, Copy, Debug)]
pub struct StatusList {
    /// The id of the list.
    pub id: StatusListId,
    /// The number of bits.
    pub size: u32,
    /// The number of revocations so far.
    pub version: i64,
}

/// The origin of a request.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The IP address of the client.
    pub address: IpAddr,
    /// The id of the request, as in its response and in the log.
    pub request_id: Uuid,
}

/// The client of a login.
#[derive(Clone, Debug)]
pub struct Client {
    /// The origin of the request.
    pub origin: Origin,
    /// `User-Agent`, truncated.
    pub user_agent: Option<String>,
}
