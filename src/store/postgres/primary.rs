//! Which host is used of those in the address: one that takes writes.
//!
//! Rule: a server that cannot be reached, or takes no writes any more, is left as soon as another does, and nothing that is open to
//! it is used again. Threat: a fail-over after which some connections still go to the old primary, whose rows are of yesterday.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use tokio::sync::watch;
use tokio::time;

use crate::store::postgres::Silence;

/// How often the server in use is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a server may take to answer, or to let us in.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connects to the first host that takes writes; if none does, to the first that lets us in: it can still be read. Returns the
/// number of the host, too.
pub async fn connect(hosts: &[PgConnectOptions]) -> Result<(PgConnection, usize), sqlx::Error> {
    let (mut readable, mut fault) = (None, sqlx::Error::PoolTimedOut);
    for (i, host) in hosts.iter().enumerate() {
        // A host that says nothing must not keep us from asking the next one. The last may take as long as the caller waits.
        let connecting = PgConnection::connect_with(host);
        let connected = if i + 1 == hosts.len() {
            connecting.await
        } else {
            time::timeout(PATIENCE, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
        };
        match connected {
            Ok(mut connection) => {
                if hosts.len() == 1 || takes_writes(&mut connection).await {
                    return Ok((connection, i));
                }
                readable = readable.or(Some((connection, i)));
            }
            Err(error) => fault = error,
        }
    }
    readable.ok_or(fault)
}

/// Whether a server takes writes: it is no standby, and not set to be read only.
async fn takes_writes(connection: &mut PgConnection) -> bool {
    // Without a parameter it is sent as one message, which a pooler passes on as it is.
    let asked = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(connection);
    let answer = time::timeout(PATIENCE, asked).await;
    let answer = answer.ok().and_then(Result::ok).and_then(|row| row.try_get::<String, _>(0).ok());
    answer.is_some_and(|answer| answer == "off")
}

/// Looks every second whether the server in use takes writes, and turns to one that does, which may have the same address. It goes
/// on until it is aborted.
pub async fn watch(
    (hosts, mut current): (Vec<PgConnectOptions>, usize),
    pools: [PgPool; 2],
    moved: watch::Sender<PgConnectOptions>,
    silence: Silence,
) {
    let (mut watched, mut is_lost, mut has_moved) = (None, false, false);
    loop {
        time::sleep(INTERVAL).await;
        // A connection to the former server that was being made when we moved is younger than the move.
        if std::mem::take(&mut has_moved) {
            silence.begin_anew();
        }
        let is_well = match &mut watched {
            Some(connection) => takes_writes(connection).await,
            None => false,
        };
        if is_well {
            continue;
        }
        // It may take many looks until a server takes writes, perhaps at the same address.
        is_lost |= watched.take().is_some();
        let (before, from_current) = hosts.split_at(current.min(hosts.len()));
        for (i, host) in (current..).zip(from_current).chain((0..).zip(before)) {
            let connecting = time::timeout(PATIENCE, PgConnection::connect_with(host));
            let Ok(Ok(mut connection)) = connecting.await else { continue };
            if !takes_writes(&mut connection).await {
                continue;
            }
            // The first time there is nothing to leave.
            if is_lost || i != current {
                tracing::warn!(host = host.get_host(), "all connections to PostgreSQL are made anew");
                for pool in &pools {
                    pool.set_connect_options(host.clone());
                }
                silence.begin_anew();
                moved.send_replace(host.clone());
                has_moved = true;
            }
            is_lost = false;
            (watched, current) = (Some(connection), i);
            break;
        }
    }
}
