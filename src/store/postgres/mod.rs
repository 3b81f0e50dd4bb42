//! Connects to PostgreSQL.

mod changes;
mod commit;
mod primary;
mod replica;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, Row as _};
use tokio::sync::watch;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

pub use self::primary::connect as connect_to_primary;
use self::replica::Replica;
use crate::error::StartError;
use crate::store::error::reason;
use crate::store::location::PostgresServer;
use crate::store::query::STATEMENT_TIMEOUT;
use crate::store::{Invalidation, KnownLater, PATIENCE, Pools, Store, migrations};

/// How long PostgreSQL may take to answer at the start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Connections that only read, apart from those that write, so that writes which wait for each other do not hold up checks.
/// PostgreSQL takes 100 connections by default.
const READERS: u32 = 10;
const WRITERS: u32 = 6;

/// How long a connection may take to say that it is well: a third of the time that a request waits for one.
const PING_TIMEOUT: Duration = Duration::from_millis(300);

/// How long a transaction may be idle before PostgreSQL ends it: the locks of a server that is gone hold the others up as long.
const IDLE_TRANSACTION: &str = "2s";

/// When a connection was last found to be silent. What has lost one has probably lost the others that were open then, and to ask
/// each of them in turn would take long; so none of them is used again.
#[derive(Clone, Debug, Default)]
struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    /// Lets no connection be used again that is open now.
    fn begin_anew(&self) {
        *self.lock() = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was during the life of a connection of this age.
    fn is_since(&self, age: Duration) -> bool {
        self.lock().is_some_and(|at| at.elapsed() <= age)
    }

    /// Whether the connection answers.
    async fn is_well(&self, connection: &mut PgConnection) -> bool {
        match time::timeout(PING_TIMEOUT, connection.ping()).await {
            Ok(answer) => answer.is_ok(),
            Err(_elapsed) => {
                self.begin_anew();
                false
            }
        }
    }
}

/// What is known of the PostgreSQL servers beyond one connection.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    silence: Silence,
    /// The read replica, if there is one.
    pub replica: Option<Arc<Replica>>,
    /// How often it was asked what other servers changed.
    pub polls: changes::Polls,
}

/// What begins a transaction.
#[derive(Debug)]
pub struct Begin {
    /// One that [`Cluster::commit`] ends: its own commit does not wait for the disk.
    pub to_write: &'static str,
    /// One that only reads; none where reads need no transaction.
    pub to_read: Option<&'static str>,
}

const DIRECTLY: Begin = Begin { to_write: "BEGIN; SET LOCAL synchronous_commit = off", to_read: None };

/// Through a pooler, which gives connections for one transaction at a time. The settings of a connection belong to all who share
/// it, so they are made for the transaction alone. sqlx names the statements that it prepares, and numbers them anew on each of
/// its own connections; what somebody else has left on this one would be in the way.
const THROUGH_POOLER: Begin = Begin {
    to_write: "BEGIN; DEALLOCATE ALL; SET LOCAL lock_timeout = '900ms'; SET LOCAL statement_timeout = '2500ms';
        SET LOCAL idle_in_transaction_session_timeout = '2s'; SET LOCAL synchronous_commit = off",
    to_read: Some(
        "BEGIN; DEALLOCATE ALL; SET LOCAL lock_timeout = '900ms'; SET LOCAL statement_timeout = '2500ms';
        SET LOCAL idle_in_transaction_session_timeout = '2s'",
    ),
};
const READ_ONLY_THROUGH_POOLER: Begin =
    Begin { to_write: THROUGH_POOLER.to_write, to_read: Some("BEGIN READ ONLY; DEALLOCATE ALL") };

/// How to connect through a pooler: with no more parameters than it knows, and without statements that are kept.
fn through_pooler(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().extra_float_digits(None).statement_cache_capacity(0)
}

/// Opens the database and brings its schema up to date.
pub async fn open(server: &PostgresServer) -> Result<Store, StartError> {
    if server.has_pooler { open_through_pooler(server).await } else { open_directly(server).await }
}

async fn open_through_pooler(server: &PostgresServer) -> Result<Store, StartError> {
    let hosts: Vec<_> = server.hosts.iter().map(through_pooler).collect();
    let (mut first, current) = connect(&hosts).await?;
    let begun = first.begin_with("BEGIN READ ONLY; DEALLOCATE ALL").await;
    let mut first = begun.map_err(|error| refused(&hosts, &reason(&error)))?;
    check(&mut first).await?;
    let schema = migrations::of_postgres(&mut first).await.map_err(|error| migrations::outdated(&error))?;
    // Migrations lock each other out with a lock of the session.
    if !schema.is_up_to_date() {
        return Err(StartError::setting(
            "DATABASE_URL",
            "the schema is not that of this version, and is not changed through a pooler; run countersign migrate with the address \
             of PostgreSQL itself",
        ));
    }
    drop(first);
    Ok(serve((hosts, current), &THROUGH_POOLER, server.replica.as_ref()))
}

async fn open_directly(server: &PostgresServer) -> Result<Store, StartError> {
    let (mut first, current) = connect(&server.hosts).await?;
    check(&mut first).await?;
    // A server that can only read may have the schema already.
    let schema = migrations::of_postgres(&mut first).await.map_err(|error| migrations::outdated(&error))?;
    if !schema.is_up_to_date() {
        migrations::POSTGRES.run(&mut first).await.map_err(|error| migrations::outdated(&error))?;
    }
    drop(first.close().await);
    let hosts = server.hosts.iter().map(|host| host.clone().options(timeouts())).collect();
    Ok(serve((hosts, current), &DIRECTLY, server.replica.as_ref()))
}

/// What a connection of our own is set to.
fn timeouts() -> [(&'static str, String); 7] {
    let (patience, statement) = (format!("{}ms", PATIENCE.as_millis()), format!("{}ms", STATEMENT_TIMEOUT.as_millis()));
    [
        ("lock_timeout", patience),
        // What nobody waits for any more is not done either.
        ("statement_timeout", statement),
        // A server that stops in the middle of a transaction must not stop the others with it.
        ("idle_in_transaction_session_timeout", IDLE_TRANSACTION.into()),
        // The server, too, soon learns that we are gone, and gives up our locks.
        ("tcp_user_timeout", "3s".into()),
        ("tcp_keepalives_idle", "2".into()),
        ("tcp_keepalives_interval", "1".into()),
        ("tcp_keepalives_count", "2".into()),
    ]
}

/// A pool of so many connections, of which those that are silent are used no more.
fn pool(most: u32, silence: &Silence) -> PgPoolOptions {
    let pool = PgPoolOptions::new().max_connections(most).acquire_timeout(PATIENCE);
    let silence = silence.clone();
    let pool = pool.test_before_acquire(false).before_acquire(move |connection, known| {
        let silence = silence.clone();
        Box::pin(async move { Ok(!silence.is_since(known.age) && silence.is_well(connection).await) })
    });
    // A connection on which no answer comes any more would keep its place in the pool for ever. It says nothing of the others:
    // it may be busy with what its request did not wait for.
    pool.after_release(|connection, _| {
        Box::pin(async move { Ok(matches!(time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))) })
    })
}

/// The pools of a server, its line and its look at the hosts, of which `current` is in use.
fn serve(
    (hosts, current): (Vec<PgConnectOptions>, usize),
    begin: &'static Begin,
    replica: Option<&PgConnectOptions>,
) -> Store {
    let host = hosts.get(current).cloned().unwrap_or_default();
    let silence = Silence::default();
    // It has its own, and a connection before anybody asks.
    let replica = replica.map(|host| {
        let pool = pool(READERS, &Silence::default()).min_connections(1);
        Arc::new(Replica::new(pool.connect_lazy_with(host.clone().options(timeouts()))))
    });
    let invalidation = Invalidation::of_server();
    let [write, read] = [WRITERS, READERS].map(|most| pool(most, &silence).connect_lazy_with(host.clone()));
    let (moved, host) = watch::channel(host);
    let polls = changes::Polls::default();
    let line = changes::follow(host, begin.to_read, invalidation.clone(), replica.clone(), polls.clone());
    let primary = primary::watch((hosts, current), [write.clone(), read.clone()], moved, silence.clone());
    let line = AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::join!(line, primary);
    }));
    let pools =
        Pools::Postgres { write, read, cluster: Cluster { silence, replica, polls }, begin, line: Some(line.into()) };
    Store { pools, invalidation, chain_key: KnownLater::default() }
}

/// Opens the database for reads only, without a migration.
pub async fn open_read_only(server: &PostgresServer) -> Result<Store, StartError> {
    let (hosts, begin): (Vec<_>, _) = match server.has_pooler {
        true => (server.hosts.iter().map(through_pooler).collect(), &READ_ONLY_THROUGH_POOLER),
        false => (server.hosts.clone(), &DIRECTLY),
    };
    let (first, current) = connect(&hosts).await?;
    drop(first.close().await);
    let mut options = hosts.get(current).cloned().unwrap_or_default();
    if !server.has_pooler {
        options = options.options([("default_transaction_read_only", "on")]);
    }
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options);
    let pools = Pools::Postgres { write: pool.clone(), read: pool, cluster: Cluster::default(), begin, line: None };
    Ok(Store { pools, invalidation: Invalidation::of_server(), chain_key: KnownLater::default() })
}

/// A connection of its own for the start, which may take longer than a request would wait for one; and the number of its host.
async fn connect(hosts: &[PgConnectOptions]) -> Result<(PgConnection, usize), StartError> {
    match time::timeout(START_PATIENCE, primary::connect(hosts)).await {
        Ok(connected) => connected.map_err(|error| match reason(&error) {
            // What PgBouncer says of `options` and of `extra_float_digits`.
            reason if reason.contains("unsupported startup parameter") => StartError::setting(
                "DATABASE_URL",
                format_args!("there is a pooler in between ({reason}); add pgbouncer=true to the address"),
            ),
            reason => refused(hosts, &reason),
        }),
        Err(_elapsed) => Err(refused(hosts, "no answer in time")),
    }
}

/// Refuses a server that lacks what commits need.
async fn check(connection: &mut PgConnection) -> Result<(), StartError> {
    // Without a parameter it is sent as one message, which a pooler passes on as it is.
    let query = sqlx::raw_sql(
        "SELECT current_setting('server_version_num')::INT >= 130000,
        has_function_privilege('pg_logical_emit_message(BOOLEAN, TEXT, TEXT)', 'EXECUTE')",
    );
    let row = query.fetch_one(connection).await;
    match row.and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?))) {
        Ok((true, true)) => Ok(()),
        Ok((false, _)) => Err(StartError::setting("DATABASE_URL", "PostgreSQL must be of version 13 or later")),
        Ok((true, false)) => {
            let mend =
                "the user may not call pg_logical_emit_message; GRANT EXECUTE on it, which every user has by default";
            Err(StartError::setting("DATABASE_URL", mend))
        }
        Err(error) => Err(StartError::setting("DATABASE_URL", format_args!("this is no PostgreSQL ({error})"))),
    }
}

fn refused(hosts: &[PgConnectOptions], reason: &str) -> StartError {
    let hosts = hosts.iter().map(PgConnectOptions::get_host).collect::<Vec<_>>().join(" or ");
    StartError::setting(
        "DATABASE_URL",
        format_args!(
            "PostgreSQL at {hosts} does not let us in ({reason}); start it, or correct the address, user and password"
        ),
    )
}
