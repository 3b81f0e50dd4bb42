//! The line by which a server hears of what others change: it polls the log of changes while its cache is in use.
//!
//! Rule: a poll counts from its beginning, and only when it was answered. After any fault, and when the log has a gap or has
//! gone back, everything that was read before is dropped. Threat: a line that is cut, half-open or slow, and a server that goes
//! on letting in whom another one has thrown out.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::time;

use crate::store::tables::changes::{News, read_since};
use crate::store::{Driver, Invalidation};

/// How long a poll may take. A later answer would be of no use.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long after a fault the next attempt is made.
const PAUSE: Duration = Duration::from_millis(100);

/// Polls while somebody uses the cache. It goes on until it is aborted.
pub async fn follow(
    mut host: watch::Receiver<PgConnectOptions>,
    begin: Option<&'static str>,
    invalidation: Invalidation,
) {
    let (mut line, mut known) = (None, None);
    loop {
        invalidation.poll_due().await;
        // What the former primary says is of yesterday.
        if host.has_changed().is_ok_and(|changed| changed) {
            (line, known) = (None, None);
        }
        let options = host.borrow_and_update().clone();
        let begun = Instant::now();
        match time::timeout(PATIENCE, poll((&options, begin), &mut line, known.unwrap_or(i64::MAX))).await {
            Ok(Ok(news)) => {
                note(&invalidation, known, &news);
                known = Some(news.head);
                invalidation.note_poll(begun);
            }
            failed => {
                if known.is_some() {
                    let why = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |fault| fault.err().map(|fault| fault.to_string()).unwrap_or_default(),
                    );
                    tracing::warn!(%why, "what other servers change is not heard of; the cache is not used meanwhile");
                }
                // A connection that was silent once is trusted no more.
                (line, known) = (None, None);
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// Asks for the changes after a number, on a connection of its own: those of the pool may all be busy.
async fn poll(
    (options, begin): (&PgConnectOptions, Option<&'static str>),
    line: &mut Option<PgConnection>,
    after: i64,
) -> Result<News, sqlx::Error> {
    let line = match line {
        Some(line) => line,
        None => line.insert(PgConnection::connect_with(options).await?),
    };
    let Some(begin) = begin else { return read_since(&mut Driver::Postgres(line), after).await };
    let mut transaction = line.begin_with(begin).await?;
    let news = read_since(&mut Driver::Postgres(&mut transaction), after).await?;
    transaction.rollback().await?;
    Ok(news)
}

/// Notes what has changed since the number that was known last, if there is one.
fn note(invalidation: &Invalidation, known: Option<i64>, news: &News) {
    let missed = known.map(|known| news.head.checked_sub(known).and_then(|missed| usize::try_from(missed).ok()));
    match missed {
        Some(Some(missed)) if missed == news.changes.len() => {
            for ids in &news.changes {
                invalidation.note_of_others(ids.as_deref());
            }
        }
        _ => invalidation.note_everything(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    /// Which of two ids still count as unchanged after this news.
    fn unchanged(known: Option<i64>, head: i64, changes: &[Option<Vec<Uuid>>]) -> [bool; 2] {
        let invalidation = Invalidation::of_server();
        invalidation.note_poll(Instant::now());
        let read = invalidation.read_version();
        note(&invalidation, known, &News { head, changes: changes.to_vec() });
        [ONE, OTHER].map(|id| invalidation.unchanged_since(read, [id]))
    }

    #[test]
    fn news_drops_what_it_names_and_a_gap_drops_everything() {
        let of_one = Some(vec![ONE]);
        assert_eq!(unchanged(Some(7), 7, &[]), [true, true], "nothing has happened");
        assert_eq!(unchanged(Some(7), 8, std::slice::from_ref(&of_one)), [false, true]);
        assert_eq!(unchanged(Some(7), 9, &[of_one.clone(), Some(vec![OTHER])]), [false, false]);
        assert_eq!(unchanged(Some(7), 9, &[of_one.clone(), None]), [false, false], "everything has changed");
        for (known, head, what) in [
            (None, 7, "the first look after a fault"),
            (Some(7), 9, "one of two is not kept any more"),
            (Some(7), 6, "the number has gone back"),
            (Some(7), 7 + 20_000, "far behind"),
        ] {
            assert_eq!(unchanged(known, head, std::slice::from_ref(&of_one)), [false, false], "{what}");
        }
    }

    #[test]
    fn nothing_is_fresh_before_the_first_answer() {
        let invalidation = Invalidation::of_server();
        assert!(!invalidation.unchanged_since(invalidation.read_version(), [ONE]));
    }
}
