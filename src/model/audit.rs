use aws_lc_rs::digest::{SHA256, digest};

use super::{Method, Timestamp, UserId};

/// What the audit trail records. The words of [`Event::as_str`] are stable: programs search for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A user logged in.
    LoggedIn,
    /// A password was refused, at login or elsewhere. An unknown username is not recorded: people sometimes type their
    /// password into that field.
    LoginFailed,
    /// A password was refused unseen, because too many from its address were wrong.
    LoginLimited,
    /// A block of an address that had tried too many passwords was lifted.
    BlockLifted,
    /// A session was refreshed: it has a new JWT, and perhaps a new opaque token.
    SessionRefreshed,
    /// An opaque token was presented again after it had been exchanged, so its session was revoked.
    TokenReused,
    /// A person or a service ended a session.
    SessionEnded,
    /// A personal access token was created.
    TokenCreated,
    /// A personal access token was revoked.
    TokenRevoked,
    /// The next signing key was created.
    KeyRotated,
    /// The oldest records were deleted, up to the one that the target names.
    AuditForgotten,
    /// A user was created.
    UserCreated,
    /// The name, e-mail address, roles or `must_change_password` of a user changed.
    UserChanged,
    /// A user was disabled, and all their sessions and tokens were revoked.
    UserDisabled,
    /// A user was enabled.
    UserEnabled,
    /// A user was deleted.
    UserDeleted,
    /// The password of a user was set or changed.
    PasswordSet,
    /// An import created users.
    UsersImported,
    /// An export of all users with their password hashes began.
    UsersExported,
    /// A backup replaced the database; all sessions, tokens and signing keys of the backup were invalidated.
    DatabaseRestored,
}

impl Event {
    /// The word stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggedIn => "login.succeeded",
            Self::LoginFailed => "login.failed",
            Self::LoginLimited => "login.limited",
            Self::BlockLifted => "block.lifted",
            Self::SessionRefreshed => "session.refreshed",
            Self::TokenReused => "session.token-reused",
            Self::SessionEnded => "session.ended",
            Self::TokenCreated => "token.created",
            Self::TokenRevoked => "token.revoked",
            Self::KeyRotated => "key.rotated",
            Self::AuditForgotten => "audit.forgotten",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserDisabled => "user.disabled",
            Self::UserEnabled => "user.enabled",
            Self::UserDeleted => "user.deleted",
            Self::PasswordSet => "user.password-set",
            Self::UsersImported => "user.imported",
            Self::UsersExported => "user.exported",
            Self::DatabaseRestored => "database.restored",
        }
    }
}

/// How an actor was authenticated, or why that was not required. The words are stable, like those of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMethod {
    /// A username and a password at login.
    Password,
    /// The credential of a request.
    Credential(Method),
    /// The setup token.
    Setup,
    /// The command line, on the machine itself.
    Command,
    /// The service itself.
    System,
}

impl AuditMethod {
    /// The word stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Credential(method) => method.as_str(),
            Self::Setup => "setup",
            Self::Command => "command",
            Self::System => "system",
        }
    }
}

impl From<Method> for AuditMethod {
    fn from(method: Method) -> Self {
        Self::Credential(method)
    }
}

/// Whether the action was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The action was carried out.
    Done,
    /// The action was refused.
    Refused,
}

impl Outcome {
    /// The word stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// An event to be recorded in the audit trail.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// The time of the event.
    pub at: Timestamp,
    /// The kind of event.
    pub event: Event,
    /// Whether the action was carried out.
    pub outcome: Outcome,
    /// The user who acted, if known.
    pub actor: Option<UserId>,
    /// The user who was acted on.
    pub subject: Option<UserId>,
    /// What else the event concerns, such as the id of a session.
    pub target: Option<String>,
    /// What was changed, or how often it happened. It never holds a secret.
    pub detail: Option<String>,
    /// How the actor was authenticated.
    pub method: AuditMethod,
    /// The IP address of the client.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// A stored record of the audit trail. Its fields are those of [`AuditRecord`] and its links in the chain.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// The sequence number.
    pub seq: i64,
    /// The time of the event.
    pub at: Timestamp,
    /// The word of an [`Event`].
    pub event: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The user who acted, if known.
    pub actor: Option<UserId>,
    /// The user who was acted on.
    pub subject: Option<UserId>,
    /// What else the event concerns, such as the id of a session.
    pub target: Option<String>,
    /// What was changed, or how often it happened.
    pub detail: Option<String>,
    /// The word of an [`AuditMethod`].
    pub method: Option<String>,
    /// The IP address of the client.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The SHA-256 of this record and the hash of the previous one.
    pub hash: Vec<u8>,
}

impl AuditRow {
    /// Chains a record, with the number `seq`, to the record whose hash is `before`.
    pub fn new(record: AuditRecord, seq: i64, before: &[u8]) -> Result<Self, serde_json::Error> {
        let mut row = Self {
            seq,
            at: record.at,
            event: record.event.as_str().to_owned(),
            outcome: record.outcome.as_str().to_owned(),
            actor: record.actor,
            subject: record.subject,
            target: record.target,
            detail: record.detail,
            method: Some(record.method.as_str().to_owned()),
            address: record.address,
            request_id: record.request_id,
            hash: Vec::new(),
        };
        row.hash = row.hash_after(before)?;
        Ok(row)
    }

    /// Hashes this record together with `before`, the hash of the previous record, and so with all before it. The input
    /// is a JSON array, which is unambiguous: no field can run into the next.
    pub fn hash_after(&self, before: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let whom = (self.actor, self.subject, &self.target);
        let how = (&self.method, &self.address, &self.request_id);
        let fields = match &self.detail {
            Some(detail) => {
                serde_json::to_vec(&(before, self.seq, self.at.0, &self.event, &self.outcome, whom, how, detail))?
            }
            // As records were hashed before they had details.
            None => serde_json::to_vec(&(before, self.seq, self.at.0, &self.event, &self.outcome, whom, how))?,
        };
        Ok(digest(&SHA256, &fields).as_ref().to_vec())
    }
}

/// A filter of audit records. A record must match all conditions.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// The user who acted or was acted on.
    pub user: Option<UserId>,
    /// The word of an [`Event`].
    pub event: Option<String>,
    /// The earliest time.
    pub since: Option<Timestamp>,
}
