//! The chain of the audit trail: sealing, verifying, and forgetting what is past retention.
//!
//! Rule: the hash of a record is an HMAC of the record and the hash before it, and the end of the chain is sealed by another;
//! the key is derived from the secret key, which is not in the database. Retention deletes the oldest records only, and
//! records up to where. Threat: someone who can write to the database changes, adds or removes records, at the beginning, in
//! the middle or at the end. Not answered: someone who puts a whole earlier state of the database back, or a whole trail in the
//! form of the versions before the key; a hash that was stored elsewhere shows both.

use crate::auth::Auth;
use crate::auth::audit::Actor;
use crate::error::{Error, StartError};
use crate::model::{AuditHead, AuditRecord, AuditRow, ChainKey, Event, Timestamp, Unsealed};
use crate::store::{Store, Tx};

/// Records per step when the chain is verified or its oldest records are deleted.
const CHAIN_STEP: u32 = 1000;

/// The result of verifying the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    /// How many consecutive records are intact, from the first one.
    pub records: i64,
    /// How many of them are from before the trail had this key. That they are unchanged since is proven; that they were true then
    /// is not.
    pub unsealed: i64,
    /// The number of the first record that was changed or is missing.
    pub broken_at: Option<i64>,
}

/// Gives the store the key of the chain, and seals an end that has no seal yet. `key_is_proven` says whether the secret key has
/// opened a signing key.
pub(in crate::auth) async fn open(
    store: &Store,
    key: &ChainKey,
    key_is_proven: bool,
    now: Timestamp,
) -> Result<(), StartError> {
    store.set_chain_key(key.clone());
    let head = store.read().await?.audit_head().await?;
    if head.seal.is_none() {
        let mut tx = store.write_alone().await?;
        seal(&mut tx, key, now).await?;
        tx.commit().await?;
    } else if !key_is_proven && !key.fits(&head) {
        return Err(StartError::setting(
            "COUNTERSIGN_SECRET_KEY",
            "the audit trail in the database is under another key; give the one that the other servers of it have",
        ));
    }
    Ok(())
}

/// Records why the end has no seal of this key, which seals it. It does nothing to an end that has.
pub(in crate::auth) async fn seal(tx: &mut Tx, key: &ChainKey, now: Timestamp) -> Result<(), Error> {
    let head = tx.audit_head().await?;
    if !key.fits(&head) {
        let record = match why_unsealed(tx, key, &head).await? {
            Some(why) => AuditRecord::by_system(Event::AuditSealed, now).to(why.as_str()),
            None => AuditRecord::by_system(Event::AuditBroken, now),
        };
        tx.record(record);
    }
    Ok(())
}

/// Why an end has no seal of this key; none when somebody must have taken it away: the last record is missing, or under this key.
async fn why_unsealed(tx: &mut Tx, key: &ChainKey, head: &AuditHead) -> Result<Option<Unsealed>, Error> {
    if head.seq == 0 {
        return Ok((!tx.has_users().await?).then_some(Unsealed::New));
    }
    let rows = tx.audit_chain(head.seq.saturating_sub(2), 2).await?;
    let (start, start_hash) = tx.audit_start().await?;
    let (last, before) = match rows.as_slice() {
        [before, last] => (last, &before.hash),
        [last] if start == head.seq - 1 => (last, &start_hash),
        _ => return Ok(None),
    };
    Ok(match Link::of(last, before, key)? {
        Link::Keyed => None,
        Link::Unkeyed => Some(Unsealed::Unkeyed),
        // Whoever takes our seal away can write any hash, but a seal of the other key stays where such a trail was put.
        Link::Unknown => head.seal.is_some().then_some(Unsealed::AnotherKey),
    })
}

/// What chains a record to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Its HMAC under our key.
    Keyed,
    /// Its hash without a key, as earlier versions had it.
    Unkeyed,
    /// Neither: it was changed, or is under another key.
    Unknown,
}

impl Link {
    fn of(row: &AuditRow, before: &[u8], key: &ChainKey) -> Result<Self, Error> {
        let fault = |error: serde_json::Error| Error::Internal(error.into());
        Ok(match &row.hash {
            hash if *hash == key.hash(row, before).map_err(fault)? => Self::Keyed,
            hash if *hash == row.unkeyed_hash(before).map_err(fault)? => Self::Unkeyed,
            _ => Self::Unknown,
        })
    }
}

/// A walk along the chain.
struct Walk<'a> {
    key: &'a ChainKey,
    /// The last record that was walked past, and its hash.
    seq: i64,
    hash: Vec<u8>,
    /// The target of the record that must confirm where the chain begins; none once one has. Without it an attacker could cut the
    /// chain anywhere.
    claim: Option<String>,
    /// Records before the first one under our key.
    unsealed: i64,
    /// The first of them that is chained by nothing we can check.
    unknown: Option<i64>,
    is_keyed: bool,
}

impl<'a> Walk<'a> {
    fn from((seq, hash): (i64, Vec<u8>), key: &'a ChainKey) -> Self {
        let claim = (seq != 0).then(|| forgotten_target(seq, &hash));
        Self { key, seq, hash, claim, unsealed: 0, unknown: None, is_keyed: false }
    }

    /// Walks past one record. Returns the number of the record that is at fault, if one is.
    fn pass(&mut self, row: AuditRow) -> Result<Option<i64>, Error> {
        if row.seq != self.seq + 1 {
            return Ok(Some(self.seq + 1));
        }
        let (event, target) = (row.event.as_str(), row.target.as_deref());
        match Link::of(&row, &self.hash, self.key)? {
            Link::Keyed if event == Event::AuditBroken.as_str() => return Ok(Some(row.seq)),
            Link::Keyed => {
                // The first record under our key also vouches for the hash before it.
                let is_seal = event == Event::AuditSealed.as_str() && target == Some(Unsealed::AnotherKey.as_str());
                if let Some(unknown) = self.unknown.filter(|_| !self.is_keyed && !is_seal) {
                    return Ok(Some(unknown));
                }
                self.is_keyed = true;
            }
            _ if self.is_keyed => return Ok(Some(row.seq)),
            Link::Unkeyed => self.unsealed += 1,
            Link::Unknown => {
                self.unsealed += 1;
                self.unknown.get_or_insert(row.seq);
            }
        }
        if event == Event::AuditForgotten.as_str() && target == self.claim.as_deref() {
            self.claim = None;
        }
        (self.seq, self.hash) = (row.seq, row.hash);
        Ok(None)
    }
}

impl Auth {
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
            let verified = self.verify_chain(start.clone()).await?;
            // Retention may have deleted records meanwhile; those are not missing.
            if verified.broken_at.is_none() || self.store.read().await?.audit_start().await? == start {
                return Ok(verified);
            }
        }
    }

    async fn verify_chain(&self, start: (i64, Vec<u8>)) -> Result<ChainReport, Error> {
        // Read the head first: records appended meanwhile come after it.
        let (head, last) = self.store.read().await?.audit_end().await?;
        let first = start.0 + 1;
        let mut walk = Walk::from(start, self.secret.chain_key());
        let mut broken_at = None;
        while walk.seq < head.seq && broken_at.is_none() {
            let mut rows = self.store.read().await?.audit_chain(walk.seq, CHAIN_STEP).await?;
            rows.retain(|row| row.seq <= head.seq);
            if rows.is_empty() {
                broken_at = Some(walk.seq + 1);
            }
            for row in rows {
                broken_at = walk.pass(row)?;
                if broken_at.is_some() {
                    break;
                }
            }
        }
        let broken_at = broken_at.or_else(|| match () {
            () if walk.claim.is_some() => Some(first),
            () if walk.hash != head.hash => Some(head.seq),
            // Records past the end, or another end than the one that was sealed.
            () if last > head.seq || !self.secret.chain_key().fits(&head) => Some(head.seq + 1),
            () => None,
        });
        let records = broken_at.map_or(walk.seq, |at| walk.seq.min(at - 1)) + 1 - first;
        Ok(ChainReport { records, unsealed: walk.unsealed, broken_at })
    }

    /// Deletes the records that are older than the retention setting, and records that. Returns how many. With a record that was
    /// changed, the proof of it would go; so that is recorded, too, and the trail stays broken.
    pub(in crate::auth) async fn forget_audit(&self) -> Result<u64, Error> {
        let Some(retention) = self.settings.audit.audit_retention else { return Ok(0) };
        let now = self.clock.now();
        let (mut deleted, oldest_kept, mut broken_at) = (0, now.before(retention), None);
        loop {
            let mut conn = self.store.read().await?;
            let (start, _) = conn.audit_start().await?;
            let rows = conn.audit_chain(start, CHAIN_STEP).await?;
            drop(conn);
            let old = rows.iter().take_while(|row| row.at < oldest_kept);
            let Some(last) = old.last().map(|row| (row.seq, row.hash.clone())) else { return Ok(deleted) };
            if deleted == 0 {
                broken_at = self.verify_audit().await?.broken_at;
            }
            let is_broken = broken_at.is_some_and(|at| (start + 1..=last.0).contains(&at));
            let (auth, count) = (self.clone(), last.0 - start);
            let forgotten = self.finish(async move {
                let mut tx = auth.store.write().await?;
                let forgotten = tx.forget_audit(start, last.0, &last.1).await?;
                if forgotten {
                    let claim = forgotten_target(last.0, &last.1);
                    tx.record(Actor::System.did(Event::AuditForgotten, now).to(claim));
                    if is_broken {
                        tx.record(AuditRecord::by_system(Event::AuditBroken, now));
                    }
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

#[cfg(test)]
mod tests;
