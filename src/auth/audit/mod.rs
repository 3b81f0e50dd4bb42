//! The audit trail: what happened, in order.
//!
//! Rule: a change and its record share one transaction. Threat: something is done and nobody can say by whom. `chain.rs` is what
//! shows that a record was changed or removed.

pub mod chain;

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use crate::auth::Auth;
use crate::auth::grant::Grant;
use crate::error::Error;
use crate::model::pagination::cut_to;
use crate::model::{
    AuditFilter, AuditMethod, AuditRecord, AuditRow, ClientNetwork, Event, Origin, Outcome, Principal, Timestamp,
    UserId, fold_username, is_valid_username,
};

/// Who runs this process: the name and the number of the system user, as far as they are known.
static SYSTEM_USER: LazyLock<String> = LazyLock::new(|| {
    #[cfg(target_os = "linux")]
    {
        let id = rustix::process::getuid().as_raw();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let name = fields.filter(|fields| fields.get(2).is_some_and(|field| *field == id.to_string()));
        match name.filter_map(|fields| fields.first().map(ToString::to_string)).next() {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    }
    #[cfg(not(target_os = "linux"))]
    "unknown".to_owned()
});

/// The target of an event that concerns every user.
pub(super) const EVERYONE: &str = "everyone";

/// Who performs an action, for the audit trail.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// An authenticated user.
    User {
        /// The id of the user.
        id: UserId,
        /// How the user authenticated.
        method: AuditMethod,
        /// The request and its peer.
        origin: Origin,
        /// Why the user may act; each write confirms it. None for the login that has just checked the password.
        grant: Option<Grant>,
    },
    /// A client that is not authenticated.
    Unknown {
        /// How the client tried to authenticate.
        method: AuditMethod,
        /// The request and its peer.
        origin: Origin,
    },
    /// The operator, on the command line.
    Operator,
    /// The service itself.
    System,
}

impl Actor {
    /// The authenticated caller of a request.
    pub fn caller(principal: &Principal, origin: Origin, grant: Grant) -> Self {
        Self::User { id: principal.user.id, method: principal.method.into(), origin, grant: Some(grant) }
    }

    /// The same actor for what needs no confirmation.
    pub(super) fn unconfirmed(self) -> Self {
        match self {
            Self::User { id, method, origin, .. } => Self::User { id, method, origin, grant: None },
            other => other,
        }
    }

    /// The request of this actor, if there is one.
    pub(super) fn origin(self) -> Option<Origin> {
        match self {
            Self::User { origin, .. } | Self::Unknown { origin, .. } => Some(origin),
            Self::Operator | Self::System => None,
        }
    }

    /// The network that this actor's request came from, if there is one.
    pub(super) fn network(self) -> Option<ClientNetwork> {
        self.origin().map(|origin| ClientNetwork::of(origin.address))
    }

    /// A record that this actor did `event`.
    pub(super) fn did(self, event: Event, at: Timestamp) -> AuditRecord {
        let detail = matches!(self, Self::Operator).then(|| format!("by system user {}", *SYSTEM_USER));
        let (actor, method, origin) = match self {
            Self::User { id, method, origin, .. } => (Some(id), method, Some(origin)),
            Self::Unknown { method, origin } => (None, method, Some(origin)),
            Self::Operator => (None, AuditMethod::Command, None),
            Self::System => (None, AuditMethod::System, None),
        };
        AuditRecord {
            at,
            event,
            outcome: Outcome::Done,
            actor,
            subject: None,
            target: None,
            detail,
            method,
            address: origin.map(|origin| origin.address.to_string()),
            request_id: origin.map(|origin| origin.request_id.simple().to_string()),
        }
    }
}

impl AuditRecord {
    /// Sets the user whom the event concerns.
    pub(super) fn on(self, subject: UserId) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// Sets the target of the event: usually an id.
    pub(super) fn to(self, target: impl std::fmt::Display) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    /// Sets several targets, separated by spaces.
    pub(super) fn concerning(self, targets: &[impl std::fmt::Display]) -> Self {
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        self.to(targets.join(" "))
    }

    /// Says what was changed, or how often it happened, besides what is said already.
    pub(super) fn with_detail(self, detail: String) -> Self {
        let said = self.detail.map(|said| format!("; {said}")).unwrap_or_default();
        Self { detail: Some(detail + &said), ..self }
    }

    /// Sets the outcome to [`Outcome::Refused`].
    pub(super) fn refused(self) -> Self {
        Self { outcome: Outcome::Refused, ..self }
    }
}

impl Auth {
    /// The records before number `before` that match the filter, the newest first, and where the next page begins.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Option<i64>), Error> {
        let before = before.unwrap_or(i64::MAX);
        let mut rows = self.store.read().await?.audit_records(filter, before, limit.saturating_add(1)).await?;
        let more = cut_to(&mut rows, limit);
        let next = rows.last().filter(|_| more).map(|row| row.seq);
        Ok((rows, next))
    }

    /// The usernames of those who acted and were acted on in these records, and whether they are still there. The name of a
    /// deleted user is that in the record of the deletion.
    pub async fn names_in(&self, rows: &[AuditRow]) -> Result<HashMap<UserId, (String, bool)>, Error> {
        let ids: BTreeSet<_> = rows.iter().flat_map(|row| [row.actor, row.subject]).flatten().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.store.read().await?.usernames(&Vec::from_iter(ids)).await
    }

    /// The user with this name, or else the last one who had it and was deleted. [`Error::NotFound`] when there was none.
    pub async fn user_ever_named(&self, username: &str) -> Result<UserId, Error> {
        match self.user_named(username).await {
            Err(Error::NotFound) if is_valid_username(&fold_username(username)) => {
                let gone = self.store.read().await?.deleted_user_named(&fold_username(username)).await?;
                gone.ok_or(Error::NotFound)
            }
            user => user.map(|user| user.id),
        }
    }
}
