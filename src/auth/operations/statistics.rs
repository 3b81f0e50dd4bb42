//! Figures of the whole installation, for people who look after it.
//!
//! Rule: logins are counted from the audit trail, so that all servers give the same figures; what was counted once is not
//! read again. The answer is kept for a while, the longer the more it cost. Threat: a page left open that keeps the database
//! busy with counting.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::error::Error;
use crate::model::{Event, LoginCount, Timestamp};

/// How many hours are counted.
const HOURS: i64 = 48;
const HOUR_MILLIS: i64 = 60 * 60 * 1000;
/// How long an answer is kept at least.
const KEPT: Duration = Duration::from_secs(2);
/// How many times as long as it took to count an answer is kept.
const KEPT_PER_COST: u32 = 50;

/// Figures of the installation.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Users who may log in.
    pub active_users: i64,
    /// Users who may not.
    pub disabled_users: i64,
    /// Sessions that have neither ended nor expired.
    pub sessions: i64,
    /// Personal access tokens that have not expired.
    pub tokens: i64,
    /// The last 48 hours, the oldest first.
    pub hours: Vec<Hour>,
}

/// The logins of one hour.
#[derive(Clone, Copy, Debug)]
pub struct Hour {
    /// When it began.
    pub at: Timestamp,
    /// Logins.
    pub succeeded: u64,
    /// Wrong passwords, at login or elsewhere.
    pub failed: u64,
    /// Passwords that were refused unseen, because too many were wrong.
    pub limited: u64,
}

/// What has been counted of the audit trail.
#[derive(Default)]
pub struct LoginCounts {
    /// The last record that is in the counts.
    through: i64,
    /// Succeeded, failed and limited, by the hour.
    hours: BTreeMap<i64, [u64; 3]>,
    kept: Option<(Instant, Duration, Statistics)>,
}

impl LoginCounts {
    fn add(&mut self, count: &LoginCount) {
        let hour = self.hours.entry(count.hour).or_default();
        let records = u64::try_from(count.records).unwrap_or(0);
        // A record of refusals stands for a minute of them.
        let attempts = count.detail.as_deref().and_then(|detail| detail.strip_prefix("attempts: ")?.parse().ok());
        let number = records.saturating_mul(attempts.unwrap_or(1));
        let [succeeded, failed, limited] = hour;
        let counter = match count.event.as_str() {
            event if event == Event::LoggedIn.as_str() => succeeded,
            event if event == Event::LoginFailed.as_str() => failed,
            _ => limited,
        };
        *counter = counter.saturating_add(number);
    }
}

/// How long an answer is kept that took so long to count.
fn kept_for(took: Duration) -> Duration {
    KEPT.max(took * KEPT_PER_COST)
}

impl Auth {
    /// The figures of the installation, a few seconds old at most, or more where it takes long to count.
    pub async fn statistics(&self) -> Result<Statistics, Error> {
        let mut counts = self.login_counts.lock().await;
        if let Some((at, kept, statistics)) = &counts.kept
            && at.elapsed() < *kept
        {
            return Ok(statistics.clone());
        }
        let (begun, now) = (Instant::now(), self.clock.now());
        let last = now.0.div_euclid(HOUR_MILLIS);
        let first = last - HOURS + 1;
        let mut conn = self.store.read().await?;
        let since = Timestamp(first * HOUR_MILLIS);
        for (count, through) in conn.count_logins(counts.through, since).await? {
            counts.add(&count);
            counts.through = counts.through.max(through);
        }
        counts.hours.retain(|hour, _| *hour >= first);
        let hours = (first..=last).map(|hour| {
            let [succeeded, failed, limited] = counts.hours.get(&hour).copied().unwrap_or_default();
            Hour { at: Timestamp(hour * HOUR_MILLIS), succeeded, failed, limited }
        });
        let disabled_users = conn.count_disabled_users().await?;
        let statistics = Statistics {
            active_users: conn.count_users().await? - disabled_users,
            disabled_users,
            sessions: conn.count_sessions(now).await?,
            tokens: conn.count_personal_tokens(now).await?,
            hours: hours.collect(),
        };
        counts.kept = Some((Instant::now(), kept_for(begun.elapsed()), statistics.clone()));
        Ok(statistics)
    }

    /// How many passwords wait to be hashed on this server.
    pub fn waiting_passwords(&self) -> i64 {
        self.hash_pool.waiting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_to_count_is_counted_less_often() {
        let kept = |millis| kept_for(Duration::from_millis(millis)).as_secs();
        assert_eq!([kept(0), kept(40), kept(100), kept(1_000)], [2, 2, 5, 50]);
    }

    #[test]
    fn records_are_added_up_by_hour_and_kind_and_may_stand_for_several() {
        let mut counts = LoginCounts::default();
        let count = |hour, event: Event, records, detail: Option<&str>| LoginCount {
            hour,
            event: event.as_str().to_owned(),
            detail: detail.map(ToOwned::to_owned),
            records,
        };
        for count in [
            count(1, Event::LoggedIn, 2, None),
            count(1, Event::LoggedIn, 3, None),
            count(1, Event::LoginFailed, 2, Some("attempts: 10")),
            count(1, Event::LoginLimited, 1, Some("attempts: 7")),
            count(2, Event::LoginFailed, 4, Some("attempts: unclear")),
            count(2, Event::LoginLimited, -1, None),
        ] {
            counts.add(&count);
        }
        assert_eq!(counts.hours, BTreeMap::from([(1, [5, 20, 7]), (2, [0, 4, 0])]));
    }
}
