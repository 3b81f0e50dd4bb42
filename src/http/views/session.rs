//! The JSON representation of sessions.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{Session, SessionId, Timestamp};

/// A session, which starts with a login.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the session was last used, to within a minute or so.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// The client address of the login.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// The `User-Agent` of the login.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64)")]
    user_agent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether this request used the session.
    #[schema(example = true)]
    current: bool,
}

/// All sessions of a user (a limited number, so not paginated).
#[derive(Serialize, ToSchema)]
pub struct SessionList {
    items: Vec<SessionView>,
}

impl SessionList {
    /// Creates the list, in the given order. `current` is the session of the caller, if any.
    pub fn new(sessions: Vec<Session>, current: Option<SessionId>) -> Self {
        let view = |session: Session| SessionView {
            current: current == Some(session.id),
            id: session.id,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            address: session.address,
            user_agent: session.user_agent,
            expires_at: session.expires_at,
        };
        Self { items: sessions.into_iter().map(view).collect() }
    }
}
