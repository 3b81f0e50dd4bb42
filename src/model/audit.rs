use aws_lc_rs::digest::{SHA256, digest};

use super::{Method, Timestamp, UserId};

/// What is worth remembering. The words are a promise: programs look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Someone logged in.
    LoggedIn,
    /// Someone showed a wrong password, at login or elsewhere; whom they said to be is noted if there is such a user, and never what they typed.
    LoginFailed,
    /// A session was given a new JWT, and perhaps a new opaque token.
    SessionRefreshed,
    /// An opaque token that had been exchanged was presented again; its session was ended.
    TokenReused,
    /// A session was ended by a person or a service.
    SessionEnded,
    /// A personal access token was made.
    TokenCreated,
    /// A personal access token was taken back.
    TokenRevoked,
    /// The next signing key was made.
    KeyRotated,
    /// The oldest records were forgotten, up to the one named.
    AuditForgotten,
    /// A user was made.
    UserCreated,
    /// Name, e-mail or roles of a user were changed.
    UserChanged,
    /// A user was disabled; every session and token of theirs ended.
    UserDisabled,
    /// A user was enabled.
    UserEnabled,
    /// A user was deleted.
    UserDeleted,
    /// A user was given another password.
    PasswordSet,
    /// Users were brought along from elsewhere.
    UsersImported,
    /// All users were read out, with the hashes of their passwords.
    UsersExported,
    /// A backup was put in the place of all there was; every session, token and key ended.
    DatabaseRestored,
}

impl Event {
    /// The word the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggedIn => "login.succeeded",
            Self::LoginFailed => "login.failed",
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

/// How an actor proved who they are, or that no proof was asked for. The words are a promise, like those of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMethod {
    /// A username and a password at login.
    Password,
    /// A credential that came with a request.
    Credential(Method),
    /// The setup token.
    Setup,
    /// The command line of the machine.
    Command,
    /// The service itself.
    System,
}

impl AuditMethod {
    /// The word the database keeps.
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

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As was asked.
    Done,
    /// It was refused.
    Refused,
}

impl Outcome {
    /// The word the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it, if that is known.
    pub actor: Option<UserId>,
    /// To whom.
    pub subject: Option<UserId>,
    /// To which of their things: an id.
    pub target: Option<String>,
    /// How the actor proved who they are.
    pub method: AuditMethod,
    /// From which address.
    pub address: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
}

/// A record as it is kept.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: String,
    /// How it ended: `done` or `refused`.
    pub outcome: String,
    /// Who did it, if that is known.
    pub actor: Option<UserId>,
    /// To whom.
    pub subject: Option<UserId>,
    /// To which of their things.
    pub target: Option<String>,
    /// How the actor proved who they are.
    pub method: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// The hash of this record and of all before it.
    pub hash: Vec<u8>,
}

impl AuditRow {
    /// This record with this number, after the one with this hash.
    pub fn new(record: AuditRecord, seq: i64, before: &[u8]) -> Result<Self, serde_json::Error> {
        let mut row = Self {
            seq,
            at: record.at,
            event: record.event.as_str().to_owned(),
            outcome: record.outcome.as_str().to_owned(),
            actor: record.actor,
            subject: record.subject,
            target: record.target,
            method: Some(record.method.as_str().to_owned()),
            address: record.address,
            request_id: record.request_id,
            hash: Vec::new(),
        };
        row.hash = row.hash_after(before)?;
        Ok(row)
    }

    /// The hash of this record and, by the hash of the one before, of all before it. A JSON array has one reading: no field
    /// can run into the next.
    pub fn hash_after(&self, before: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let fields = serde_json::to_vec(&(
            before,
            self.seq,
            self.at.0,
            &self.event,
            &self.outcome,
            (self.actor, self.subject, &self.target),
            (&self.method, &self.address, &self.request_id),
        ))?;
        Ok(digest(&SHA256, &fields).as_ref().to_vec())
    }
}

/// Which records are looked for; all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Who did it, or to whom it was done.
    pub user: Option<UserId>,
    /// What happened.
    pub event: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
}
