//! The record of refused passwords.
//!
//! Rule: the first refusal of an account at an address is recorded at once; those of each minute after that are recorded
//! together, with their number. Threat: a flood of guesses that fills the audit trail, and hides in it what else happened.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{AuditRecord, Event, Timestamp, UserId};

/// Refusals within this time of the last record are counted for the next one.
const WINDOW: Duration = Duration::from_secs(60);
/// The most windows at a time. Refusals beyond that are counted together, without an account and an address.
const MAX_WINDOWS: usize = 10_000;

/// What is refused, to whom and where.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    is_limited: bool,
    user: Option<UserId>,
    address: Option<IpAddr>,
}

struct Window {
    since: Timestamp,
    /// Who was refused last.
    last: Actor,
    /// How many refusals are not recorded yet.
    count: u64,
}

impl Window {
    /// Whether its minute has passed. A clock that was set back ends it, too.
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || self.since.after(WINDOW) <= now
    }

    /// Begins the next minute. Returns how many refusals are to be recorded of the last one.
    fn begin_anew(&mut self, now: Timestamp) -> u64 {
        self.since = now;
        mem::take(&mut self.count)
    }
}

/// The refusals of the last minute.
pub struct Refusals {
    windows: Mutex<HashMap<Kind, Window>>,
    failed: Counter,
    limited: Counter,
}

impl Refusals {
    /// Nothing was refused yet.
    pub fn new(registry: &mut Registry) -> Self {
        let (failed, limited) = (Counter::default(), Counter::default());
        registry.register("passwords_wrong", "Passwords that were refused because they are wrong", failed.clone());
        let help = "Passwords that were refused unseen because too many were wrong";
        registry.register("passwords_limited", help, limited.clone());
        Self { windows: Mutex::default(), failed, limited }
    }

    /// Counts a refusal. Returns how many are to be recorded now, if any.
    fn count(&self, kind: Kind, actor: Actor, now: Timestamp) -> Option<u64> {
        if kind.is_limited {
            self.limited.inc()
        } else {
            self.failed.inc()
        };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = match windows.len() >= MAX_WINDOWS && !windows.contains_key(&kind) {
            true => Kind { user: None, address: None, ..kind },
            false => kind,
        };
        match windows.get_mut(&kind) {
            Some(window) => {
                (window.last, window.count) = (actor, window.count + 1);
                window.is_over(now).then(|| window.begin_anew(now))
            }
            None => {
                windows.insert(kind, Window { since: now, last: actor, count: 0 });
                Some(1)
            }
        }
    }

    /// The records of all windows that are over, or of all windows there are.
    fn take(&self, all: bool, now: Timestamp) -> Vec<AuditRecord> {
        let mut records = Vec::new();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|kind, window| {
            if !all && !window.is_over(now) {
                return true;
            }
            let count = window.begin_anew(now);
            if count > 0 {
                records.push(record(*kind, window.last, count, now));
            }
            count > 0
        });
        records
    }
}

fn record(kind: Kind, actor: Actor, count: u64, now: Timestamp) -> AuditRecord {
    let event = if kind.is_limited { Event::LoginLimited } else { Event::LoginFailed };
    let record = actor.did(event, now).refused().with_detail(format!("attempts: {count}"));
    AuditRecord { subject: kind.user, ..record }
}

impl Auth {
    /// Records that a password of `user` was refused; an error here does not change the answer. An unknown username is not
    /// recorded: people sometimes type their password into that field.
    pub(in crate::auth) async fn note_refusal(&self, event: Event, attempt: Actor, user: Option<UserId>) {
        let now = self.clock.now();
        let address = attempt.origin().map(|origin| origin.address);
        // Each one, for those who block addresses by the log.
        AuditRecord { subject: user, ..attempt.did(event, now).refused() }.log();
        let kind = Kind { is_limited: event == Event::LoginLimited, user, address };
        if let Some(count) = self.refusals.count(kind, attempt, now) {
            self.write_refusals(vec![record(kind, attempt, count, now)]).await;
        }
    }

    /// Records the refusals of the last minute, for the accounts and addresses whose minute is over. Call this every few
    /// seconds.
    pub async fn record_refusals(&self) {
        self.write_refusals(self.refusals.take(false, self.clock.now())).await;
    }

    /// Records all refusals that are not recorded yet.
    pub(in crate::auth) async fn record_all_refusals(&self) {
        self.write_refusals(self.refusals.take(true, self.clock.now())).await;
    }

    async fn write_refusals(&self, records: Vec<AuditRecord>) {
        if records.is_empty() {
            return;
        }
        let auth = self.clone();
        let recorded: Result<(), Error> = self
            .finish(async move {
                let mut tx = auth.store.write().await?;
                records.into_iter().for_each(|record| tx.record(record));
                tx.commit().await
            })
            .await;
        if let Err(error) = recorded {
            tracing::warn!(%error, "refused passwords were not recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{AuditMethod, Origin};

    #[test]
    fn a_steady_flood_is_one_record_a_minute_with_the_number_of_attempts() {
        let refusals = Refusals::new(&mut Registry::default());
        let mut now = Timestamp(1_767_225_600_000);
        let address = IpAddr::from([192, 0, 2, 7]);
        let origin = Origin { address, request_id: Uuid::nil() };
        let actor = Actor::Unknown { method: AuditMethod::Password, origin };
        let kind = Kind { is_limited: false, user: None, address: Some(address) };
        let mut details = Vec::new();
        assert_eq!(refusals.count(kind, actor, now), Some(1), "the first is recorded at once");
        for second in 1..=180 {
            now = now.after(Duration::from_secs(1));
            if second < 150 {
                details.extend(refusals.count(kind, actor, now).map(|count| format!("attempts: {count}")));
            }
            details.extend(refusals.take(false, now).into_iter().filter_map(|record| record.detail));
        }
        assert_eq!(details, ["attempts: 60", "attempts: 60", "attempts: 29"]);
        now = now.after(WINDOW);
        assert!(refusals.take(false, now).is_empty());
        assert_eq!(
            refusals.count(kind, actor, now),
            Some(1),
            "after a quiet minute, the first is recorded at once again"
        );
    }

    #[test]
    fn windows_are_bounded_and_the_rest_is_counted_together() {
        let refusals = Refusals::new(&mut Registry::default());
        let now = Timestamp(0);
        let counted = (0..2 * MAX_WINDOWS as u32).filter(|i| {
            let address = IpAddr::from(i.to_be_bytes());
            let origin = Origin { address, request_id: Uuid::nil() };
            let actor = Actor::Unknown { method: AuditMethod::Password, origin };
            let user = Some(UserId(Uuid::from_u128((*i).into())));
            refusals.count(Kind { is_limited: false, user, address: Some(address) }, actor, now).is_some()
        });
        assert_eq!(counted.count(), MAX_WINDOWS + 1);
        assert_eq!(refusals.take(true, now).len(), 1);
    }

    #[test]
    fn a_minute_is_over_after_sixty_seconds_or_when_the_clock_was_set_back() {
        let origin = Origin { address: IpAddr::from([192, 0, 2, 7]), request_id: Uuid::nil() };
        let last = Actor::Unknown { method: AuditMethod::Password, origin };
        let window = Window { since: Timestamp(100_000), last, count: 3 };
        let over = [99_999, 100_000, 159_999, 160_000].map(|now| window.is_over(Timestamp(now)));
        assert_eq!(over, [true, false, false, true]);
    }

    #[test]
    fn what_is_counted_together_is_recorded_without_an_account() {
        let refusals = Refusals::new(&mut Registry::default());
        let user = UserId(Uuid::from_u128(1));
        let origin = Origin { address: IpAddr::from([192, 0, 2, 7]), request_id: Uuid::nil() };
        let actor = Actor::Unknown { method: AuditMethod::Password, origin };
        let kind = Kind { is_limited: true, user: Some(user), address: Some(origin.address) };
        assert_eq!(refusals.count(kind, actor, Timestamp(0)), Some(1));
        assert_eq!(refusals.count(kind, actor, Timestamp(0)), None);
        let [record] = refusals.take(true, Timestamp(0)).try_into().unwrap();
        assert_eq!((record.subject, record.event), (Some(user), Event::LoginLimited));
        assert!(refusals.take(false, Timestamp(0)).is_empty());
        assert_eq!((refusals.limited.get(), refusals.failed.get()), (2, 0));
        for number in 0..2 * MAX_WINDOWS as u32 {
            let address = Some(IpAddr::from(number.to_be_bytes()));
            refusals.count(Kind { is_limited: false, user: Some(user), address }, actor, Timestamp(0));
        }
        let [together] = refusals.take(true, Timestamp(0)).try_into().unwrap();
        assert_eq!((together.subject, together.event), (None, Event::LoginFailed));
    }
}
