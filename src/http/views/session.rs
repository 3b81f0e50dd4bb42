//! Sessions, as answers show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{Session, SessionId, Timestamp};

/// One login.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to within a minute or so.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// Where it was begun.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// With what it was begun.
    user_agent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether this request was made with it.
    current: bool,
}

/// All sessions of a user; there are never many.
#[derive(Serialize, ToSchema)]
pub struct SessionList {
    items: Vec<SessionView>,
}

impl SessionList {
    /// These sessions, as whoever calls with one of them, or with none, sees them.
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
