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
    /// The end of the trail had no seal yet and was sealed: of a new database, of one of an earlier version, or of one whose
    /// records are under another key. The target says which ([`Unsealed`]).
    AuditSealed,
    /// The end of the trail was found changed by something else than Countersign: records are missing, or not its own.
    AuditBroken,
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
    /// A one-time link was made, with which a user chooses a password. The target says for what.
    LinkCreated,
    /// A mail was given up: its server refused it, or could not be reached for a day. The target is the id of the mail.
    MailFailed,
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
            Self::AuditSealed => "audit.sealed",
            Self::AuditBroken => "audit.broken",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserDisabled => "user.disabled",
            Self::UserEnabled => "user.enabled",
            Self::UserDeleted => "user.deleted",
            Self::PasswordSet => "user.password-set",
            Self::LinkCreated => "link.created",
            Self::MailFailed => "mail.failed",
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
    /// A one-time link.
    Link,
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
            Self::Link => "link",
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

impl AuditRecord {
    /// A record of what the service did by itself.
    pub fn by_system(event: Event, at: Timestamp) -> Self {
        Self {
            at,
            event,
            outcome: Outcome::Done,
            actor: None,
            subject: None,
            target: None,
            detail: None,
            method: AuditMethod::System,
            address: None,
            request_id: None,
        }
    }
}

/// Why the end of a trail had no seal. The words are stable, like those of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// There are no records yet.
    New,
    /// The records were hashed without a key, by an earlier version.
    Unkeyed,
    /// The records are under another key: of the server that the backup is of, or a lost one.
    AnotherKey,
}

impl Unsealed {
    /// The word stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unkeyed => "unkeyed",
            Self::AnotherKey => "another-key",
        }
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
