//! The audit trail: what happened, in an order that cannot be changed unseen.
//!
//! Rule: a change and its record are one transaction; a record's hash covers it and the hash of the record before; what is
//! forgotten by the setting is the beginning of the chain, and a record says up to where. Threat:
//! someone who changes or removes a record. Whoever can write the whole chain anew and its end too is found out only by a
//! hash that was kept elsewhere.

use crate::{
    auth::Auth,
    error::Error,
    model::{
        AuditFilter, AuditMethod, AuditRecord, AuditRow, Event, Origin, Outcome, Principal, Timestamp, UserId, hex,
        page::cut_to,
    },
};

/// Records that are read at a time when the chain is followed, or forgotten.
const CHAIN_STEP: u32 = 1000;

/// The target of what was done to all there is of a kind.
pub(super) const EVERYONE: &str = "everyone";

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Someone who proved who they are.
    User {
        /// Who.
        id: UserId,
        /// By which method.
        method: AuditMethod,
        /// From where.
        origin: Origin,
    },
    /// Someone who did not.
    Unknown {
        /// By which method they tried.
        method: AuditMethod,
        /// From where.
        origin: Origin,
    },
    /// Whoever runs the command line.
    Operator,
    /// The service by itself.
    System,
}

impl Actor {
    /// The caller of this request.
    pub fn caller(principal: &Principal, origin: Origin) -> Self {
        Self::User { id: principal.user.id, method: principal.method.into(), origin }
    }

    /// A record of what they did.
    pub(super) fn did(self, event: Event, at: Timestamp) -> AuditRecord {
        let (actor, method, origin) = match self {
            Self::User { id, method, origin } => (Some(id), method, Some(origin)),
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
            method,
            address: origin.map(|origin| origin.address.to_string()),
            request_id: origin.map(|origin| origin.request_id.simple().to_string()),
        }
    }
}

impl AuditRecord {
    /// The same, done to this user.
    pub(super) fn on(self, subject: UserId) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// The same, done to this thing.
    pub(super) fn to(self, target: impl std::fmt::Display) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    /// The same, done to these things.
    pub(super) fn concerning(self, targets: &[impl std::fmt::Display]) -> Self {
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        self.to(targets.join(" "))
    }

    /// The same, but it was refused.
    pub(super) fn refused(self) -> Self {
        Self { outcome: Outcome::Refused, ..self }
    }
}

/// What came of following the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    /// How many records hang together from the first one on.
    pub records: i64,
    /// The first number at which the chain is broken: a record there was changed or is missing.
    pub broken_at: Option<i64>,
}

impl Auth {
    /// Records that the filter lets through, the newest first, from the one before `before`, and where the next page begins.
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

    /// Follows the chain from its beginning to its end.
    pub async fn verify_audit(&self) -> Result<ChainReport, Error> {
        loop {
            let start = self.store.read().await?.audit_start().await?;
            let verified = self.follow_chain(&start).await?;
            // What was forgotten meanwhile is not missing.
            if verified.broken_at.is_none() || self.store.read().await?.audit_start().await? == start {
                return Ok(verified);
            }
        }
    }

    async fn follow_chain(&self, (start, start_hash): &(i64, Vec<u8>)) -> Result<ChainReport, Error> {
        // The end first: what is appended meanwhile comes after it.
        let (last, end) = self.store.read().await?.audit_head().await?;
        let (mut seq, mut hash) = (*start, start_hash.clone());
        // Where the trail begins, a record in it must say: or whoever cuts it could say so of any place.
        let (claim, mut is_claimed) = (forgotten_to(*start, start_hash), *start == 0);
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
            () => (hash != end).then_some(last),
        };
        Ok(ChainReport { records: seq - start, broken_at })
    }

    /// Forgets the oldest records, if they are older than the setting says, and records that. Gives how many.
    pub(super) async fn forget_audit(&self) -> Result<u64, Error> {
        let Some(retention) = self.settings.audit.audit_retention else { return Ok(0) };
        let now = self.clock.now();
        let (mut gone, oldest_kept) = (0, now.before(retention));
        loop {
            let mut conn = self.store.read().await?;
            let (start, _) = conn.audit_start().await?;
            let rows = conn.audit_chain(start, CHAIN_STEP).await?;
            drop(conn);
            let old = rows.iter().take_while(|row| row.at < oldest_kept);
            let Some(last) = old.last().map(|row| (row.seq, row.hash.clone())) else { return Ok(gone) };
            let (auth, count) = (self.clone(), last.0 - start);
            let forgotten = self.finish(async move {
                let mut tx = auth.store.write().await?;
                let forgotten = tx.forget_audit(start, last.0, &last.1).await?;
                if forgotten {
                    let claim = forgotten_to(last.0, &last.1);
                    tx.record(Actor::System.did(Event::AuditForgotten, now).to(claim));
                }
                tx.commit().await?;
                Ok(forgotten)
            });
            if !forgotten.await? {
                return Ok(gone);
            }
            gone += u64::try_from(count).unwrap_or(0);
        }
    }
}

/// What a record says of where the trail begins: the number of the last record that was forgotten, and its hash.
fn forgotten_to(seq: i64, hash: &[u8]) -> String {
    format!("to {seq} {}", hex(hash))
}
