//! The audit trail: a hash chain of what happened, in order.
//!
//! Rule: a change and its record share one transaction. The hash of a record covers the record and the hash before it.
//! Retention deletes the oldest records only, and records up to where. Threat: someone changes or removes a record. A
//! rewrite of the whole chain, head included, is detected only by a hash that is stored elsewhere.

use std::sync::LazyLock;

use crate::auth::Auth;
use crate::auth::grant::Grant;
use crate::error::Error;
use crate::model::pagination::cut_to;
use crate::model::{
    AuditFilter, AuditMethod, AuditRecord, AuditRow, ClientNetwork, Event, Origin, Outcome, Principal, Timestamp,
    UserId,
};

/// Records per step when the chain is verified or its oldest records are deleted.
const CHAIN_STEP: u32 = 1000;

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

/// The result of verifying the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    /// How many consecutive records are intact, from the first one.
    pub records: i64,
    /// The number of the first record that was changed or is missing.
    pub broken_at: Option<i64>,
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

    /// The hash of a record, in hexadecimal; none when there is no record with this number. Compared with one that was stored
    /// elsewhere, it shows whether somebody has rewritten the chain, or cut its end.
    pub async fn audit_hash(&self, seq: i64) -> Result<Option<String>, Error> {
        let rows = self.store.read().await?.audit_chain(seq.saturating_sub(1), 1).await?;
        Ok(rows.into_iter().find(|row| row.seq == seq).map(|row| hex::encode(&row.hash)))
    }

    /// Verifies the chain from its start to its head.
    pub async fn verify_audit(&self) -> Result<ChainReport, Error> {
        loop {
            let start = self.store.read().await?.audit_start().await?;
            let verified = self.verify_chain(&start).await?;
            // Retention may have deleted records meanwhile; those are not missing.
            if verified.broken_at.is_none() || self.store.read().await?.audit_start().await? == start {
                return Ok(verified);
            }
        }
    }

    async fn verify_chain(&self, (start, start_hash): &(i64, Vec<u8>)) -> Result<ChainReport, Error> {
        // Read the head first: records appended meanwhile come after it.
        let (last, head_hash) = self.store.read().await?.audit_head().await?;
        let (mut seq, mut hash) = (*start, start_hash.clone());
        // A record in the chain must confirm its start; otherwise an attacker could cut the chain anywhere.
        let (claim, mut is_claimed) = (forgotten_target(*start, start_hash), *start == 0);
        while seq < last {
            let rows = self.store.read().await?.audit_chain(seq, CHAIN_STEP).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.seq != seq + 1
                    || row.hash_after(&hash).map_err(|error| Error::Internal(error.into()))? != row.hash
                {
                    return Ok(ChainReport { records: seq - start, broken_at: Some(seq + 1) });
                }
                is_claimed |= row.event == Event::AuditForgotten.as_str() && row.target.as_ref() == Some(&claim);
                (seq, hash) = (row.seq, row.hash);
                if seq == last {
                    break;
                }
            }
        }
        let broken_at = match () {
            () if !is_claimed => Some(start + 1),
            () if seq != last => Some(seq + 1),
            () => (hash != head_hash).then_some(last),
        };
        Ok(ChainReport { records: seq - start, broken_at })
    }

    /// Deletes the records that are older than the retention setting, and records that. Returns how many.
    pub(super) async fn forget_audit(&self) -> Result<u64, Error> {
        let Some(retention) = self.settings.audit.audit_retention else { return Ok(0) };
        let now = self.clock.now();
        let (mut deleted, oldest_kept) = (0, now.before(retention));
        loop {
            let mut conn = self.store.read().await?;
            let (start, _) = conn.audit_start().await?;
            let rows = conn.audit_chain(start, CHAIN_STEP).await?;
            drop(conn);
            let old = rows.iter().take_while(|row| row.at < oldest_kept);
            let Some(last) = old.last().map(|row| (row.seq, row.hash.clone())) else { return Ok(deleted) };
            let (auth, count) = (self.clone(), last.0 - start);
            let forgotten = self.finish(async move {
                let mut tx = auth.store.write().await?;
                let forgotten = tx.forget_audit(start, last.0, &last.1).await?;
                if forgotten {
                    let claim = forgotten_target(last.0, &last.1);
                    tx.record(Actor::System.did(Event::AuditForgotten, now).to(claim));
                }
                tx.commit().await?;
                Ok(forgotten)
            });
            if !forgotten.await? {
                return Ok(deleted);
            }
            deleted += u64::try_from(count).unwrap_or(0);
        }
    }
}

/// The target of [`Event::AuditForgotten`]: the number and the hash of the last deleted record.
fn forgotten_target(seq: i64, hash: &[u8]) -> String {
    format!("to {seq} {}", hex::encode(hash))
}
