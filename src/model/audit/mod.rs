mod chain;

use std::str::FromStr;

use tracing::field::display;

pub use self::chain::{AuditHead, AuditRow, ChainKey};
use crate::model::{Method, Timestamp, UserId, nearest};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $Name:ident = $word:literal,)*) => {
        /// What the audit trail records. The words of [`Event::as_str`] are stable: programs search for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $doc])+ $Name,)*
        }

        impl Event {
            /// All events.
            pub const ALL: &[Self] = &[$(Self::$Name),*];

            /// The word stored in the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Name => $word,)*
                }
            }
        }
    };
}

impl FromStr for Event {
    type Err = String;

    /// The event with this word, or else a sentence with the words there are.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = || Self::ALL.iter().map(|event| event.as_str());
        Self::ALL.iter().copied().find(|event| event.as_str() == text).ok_or_else(|| {
            let meant = nearest(text, words()).map(|word| format!("; did you mean {word}?")).unwrap_or_default();
            format!("must be one of {}{meant}", words().collect::<Vec<_>>().join(", "))
        })
    }
}

events! {
    /// A user logged in.
    LoggedIn = "login.succeeded",
    /// A password was refused, at login or elsewhere. An unknown username is not recorded: people sometimes type their
    /// password into that field.
    LoginFailed = "login.failed",
    /// A password was refused unseen, because too many from its address were wrong.
    LoginLimited = "login.limited",
    /// A block of an address that had tried too many passwords was lifted.
    BlockLifted = "block.lifted",
    /// A session was refreshed: it has a new JWT, and perhaps a new opaque token.
    SessionRefreshed = "session.refreshed",
    /// An opaque token was presented again after it had been exchanged, so its session was revoked.
    TokenReused = "session.token-reused",
    /// A person or a service ended a session.
    SessionEnded = "session.ended",
    /// A personal access token was created.
    TokenCreated = "token.created",
    /// A personal access token was revoked.
    TokenRevoked = "token.revoked",
    /// The next signing key was created.
    KeyRotated = "key.rotated",
    /// All signing keys were ended at once, and every JWT with them.
    KeysRevoked = "keys.revoked",
    /// The oldest records were deleted, up to the one that the target names.
    AuditForgotten = "audit.forgotten",
    /// The end of the trail had no seal yet and was sealed: of a new database (the target is `new`), of one of an earlier version
    /// (`unkeyed`), or of one whose records are under another key (`another-key`).
    AuditSealed = "audit.sealed",
    /// The end of the trail was found changed by something else than Countersign: records are missing, or not its own.
    AuditBroken = "audit.broken",
    /// A user was created.
    UserCreated = "user.created",
    /// The name, e-mail address, roles or `must_change_password` of a user changed.
    UserChanged = "user.changed",
    /// A user was disabled, and all their sessions and tokens were revoked.
    UserDisabled = "user.disabled",
    /// A user was enabled.
    UserEnabled = "user.enabled",
    /// A user was deleted.
    UserDeleted = "user.deleted",
    /// The password of a user was set or changed.
    PasswordSet = "user.password-set",
    /// A one-time link was made, with which a user chooses a password. The target says for what.
    LinkCreated = "link.created",
    /// A mail was given up: its server refused it, or could not be reached for a day. The target is the id of the mail.
    MailFailed = "mail.failed",
    /// An import created users.
    UsersImported = "user.imported",
    /// An export of all users with their password hashes began.
    UsersExported = "user.exported",
    /// A backup replaced the database; all sessions, tokens and signing keys of the backup were invalidated.
    DatabaseRestored = "database.restored",
    /// Everything was moved here from another database, which is the target.
    DatabaseCopied = "database.copied",
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
    /// Writes a line to the log: who did what, from where.
    pub fn log(&self) {
        let Self { event, outcome, address, request_id, actor, subject, method, .. } = self;
        let (event, outcome, by) = (event.as_str(), outcome.as_str(), method.as_str());
        let (user, subject) = (actor.map(display), subject.map(display));
        let (address, request_id) = (address.as_ref().map(display), request_id.as_ref().map(display));
        // As `%`, without quotes: these are words and ids.
        tracing::info!(event = %event, outcome = %outcome, address, request_id, user, subject, by, "audit");
    }

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

/// How many records say the same of logins in one hour.
#[derive(Clone, Debug)]
pub struct LoginCount {
    /// The hour, counted from 1970.
    pub hour: i64,
    /// The word of an [`Event`].
    pub event: String,
    /// The detail, which says how many attempts a record stands for.
    pub detail: Option<String>,
    /// How many records.
    pub records: i64,
}

/// A filter of audit records. A record must match all conditions.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// The user who acted or was acted on.
    pub user: Option<UserId>,
    /// What happened.
    pub event: Option<Event>,
    /// The earliest time.
    pub since: Option<Timestamp>,
}
