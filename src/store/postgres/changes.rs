//! The line by which a server hears of what others change: it polls the log of changes while its cache is in use.
//!
//! Rule: a poll counts from its beginning, and only when it was answered. After any fault, and when the log has a gap or has
//! gone back, everything that was read before is dropped. Threat: a line that is cut, half-open or slow, and a server that goes
//! on letting in whom another one has thrown out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::time;

use crate::store::postgres::replica::Replica;
use crate::store::tables::changes::{Change, Mark, News, read_from};
use crate::store::{Driver, Invalidation};

/// How long a poll may take. A later answer would be of no use.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long after a fault the next attempt is made.
const PAUSE: Duration = Duration::from_millis(100);

/// How often this server has asked what others changed.
#[derive(Clone, Debug, Default)]
pub struct Polls {
    /// Polls that were answered in time.
    pub answered: Counter,
    /// Those after which the cache was dropped.
    pub failed: Counter,
}

/// Polls while somebody uses the cache. It goes on until it is aborted.
pub async fn follow(
    mut host: watch::Receiver<PgConnectOptions>,
    begin: Option<&'static str>,
    invalidation: Invalidation,
    replica: Option<Arc<Replica>>,
    polls: Polls,
) {
    let note_heard = |change| replica.iter().for_each(|replica| replica.note_heard(change));
    let (mut line, mut known): (_, Option<Mark>) = (None, None);
    loop {
        invalidation.poll_due().await;
        // What the former primary says is of yesterday.
        if host.has_changed().is_ok_and(|changed| changed) {
            (line, known) = (None, None);
            note_heard(None);
        }
        let options = host.borrow_and_update().clone();
        let begun = Instant::now();
        match time::timeout(PATIENCE, poll((&options, begin), &mut line, known.map_or(i64::MAX, |known| known.seq)))
            .await
        {
            Ok(Ok(news)) => {
                // First: what is found on a replica from here on is newer than what is dropped here.
                note_heard(Some(last(&news)));
                note(&invalidation, known, &news);
                known = Some(last(&news));
                invalidation.note_poll(begun);
                polls.answered.inc();
            }
            failed => {
                polls.failed.inc();
                if known.is_some() {
                    let why = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |fault| fault.err().map(|fault| fault.to_string()).unwrap_or_default(),
                    );
                    tracing::warn!(%why, "what other servers change is not heard of; the cache is not used meanwhile");
                }
                // A connection that was silent once is trusted no more.
                (line, known) = (None, None);
                note_heard(None);
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// Asks for the changes from a number on, on a connection of its own: those of the pool may all be busy.
async fn poll(
    (options, begin): (&PgConnectOptions, Option<&'static str>),
    line: &mut Option<PgConnection>,
    first: i64,
) -> Result<News, sqlx::Error> {
    let line = match line {
        Some(line) => line,
        None => line.insert(PgConnection::connect_with(options).await?),
    };
    let Some(begin) = begin else { return read_from(&mut Driver::Postgres(line), first).await };
    let mut transaction = line.begin_with(begin).await?;
    let news = read_from(&mut Driver::Postgres(&mut transaction), first).await?;
    transaction.rollback().await?;
    Ok(news)
}

/// Notes what has changed since the change that was known last, if there is one.
fn note(invalidation: &Invalidation, known: Option<Mark>, news: &News) {
    match known.and_then(|known| missed_since(known, news)) {
        Some(missed) => missed.iter().for_each(|change| invalidation.note_of_others(change.ids.as_deref())),
        None => invalidation.note_everything(),
    }
}

/// The last change of the news.
fn last(news: &News) -> Mark {
    let last = news.changes.last().map(|change| change.mark).filter(|mark| mark.seq == news.head);
    last.unwrap_or(Mark { seq: news.head, tag: None })
}

/// All changes after this one; none when some are not there, or when this one is not what it was.
fn missed_since(known: Mark, news: &News) -> Option<&[Change]> {
    let missed = match news.changes.split_first() {
        Some((first, missed)) if known.tag.is_some() && first.mark == known => missed,
        _ if known.seq == 0 => &news.changes,
        _ => return None,
    };
    let count = news.head.checked_sub(known.seq).and_then(|count| usize::try_from(count).ok())?;
    (count == missed.len()).then_some(missed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const TAG: Uuid = Uuid::from_u128(7);

    /// A change of this number, which is also its tag.
    fn change(seq: i64, ids: Option<&[Uuid]>) -> Change {
        let tag = Some(Uuid::from_u128(seq.unsigned_abs().into()));
        Change { mark: Mark { seq, tag }, ids: ids.map(<[_]>::to_vec) }
    }

    /// Which of two ids still count as unchanged after this news.
    fn unchanged(known: Option<Mark>, head: i64, changes: &[Change]) -> [bool; 2] {
        let invalidation = Invalidation::of_server();
        invalidation.note_poll(Instant::now());
        let read = invalidation.read_version();
        note(&invalidation, known, &News { head, changes: changes.to_vec() });
        [ONE, OTHER].map(|id| invalidation.unchanged_since(read, [id]))
    }

    #[test]
    fn news_drops_what_it_names_and_a_gap_drops_everything() {
        let known = Some(Mark { seq: 7, tag: Some(TAG) });
        let seventh = change(7, Some(&[ONE]));
        let (of_one, of_other) = (change(8, Some(&[ONE])), change(9, Some(&[OTHER])));
        let all = [seventh.clone(), of_one.clone(), of_other.clone()];
        assert_eq!(unchanged(known, 7, &all[..1]), [true, true], "nothing has happened");
        assert_eq!(unchanged(known, 8, &all[..2]), [false, true]);
        assert_eq!(unchanged(known, 9, &all), [false, false]);
        assert_eq!(unchanged(known, 8, &[seventh.clone(), change(8, None)]), [false, false], "everything has changed");
        let none = Some(Mark { seq: 0, tag: None });
        assert_eq!(unchanged(none, 0, &[]), [true, true], "there was never a change");
        assert_eq!(unchanged(none, 1, &[change(1, Some(&[ONE]))]), [false, true], "the first of all");
        let another = Change { mark: Mark { seq: 7, tag: Some(ONE) }, ids: None };
        for (known, head, changes, what) in [
            (None, 7, vec![seventh.clone()], "the first look after a fault"),
            (known, 7, vec![another], "the number was given out again"),
            (known, 9, vec![seventh.clone(), of_other], "one of two is not there"),
            (known, 9, vec![change(8, None), change(9, None)], "the known one is not kept any more"),
            (known, 6, vec![], "the number has gone back"),
            (known, 7 + 20_000, vec![of_one], "far behind"),
            (Some(Mark { seq: 7, tag: None }), 8, vec![change(8, Some(&[]))], "what was known has no tag"),
        ] {
            assert_eq!(unchanged(known, head, &changes), [false, false], "{what}");
        }
    }

    #[test]
    fn nothing_is_fresh_before_the_first_answer() {
        let invalidation = Invalidation::of_server();
        assert!(!invalidation.unchanged_since(invalidation.read_version(), [ONE]));
    }
}
