//! Tests of the store on a SQLite file: rollbacks, group commits, closing, query plans.

use prometheus_client::registry::Registry;
use sqlx::Executor;
use uuid::Uuid;

use super::*;
use crate::model::{Event, HashedPassword, PasswordHash, Timestamp, User, UserId};

#[tokio::test]
async fn writes_continue_after_sqlite_rolls_back_by_itself_and_what_is_gone_has_no_record() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", folder.path().join("countersign.db").display());
    let store = open(&url).await;
    for i in 0..4 {
        let mut tx = if i < 2 { store.write().await.unwrap() } else { store.write_alone().await.unwrap() };
        // A full disk makes SQLite roll back without sqlx noticing.
        match tx.driver() {
            Driver::Sqlite(connection) => drop(connection.execute("ROLLBACK").await.unwrap()),
            Driver::Postgres(_) => unreachable!("the store is a file"),
        }
        if i % 2 == 0 {
            tx.record(record(i));
        }
        assert!(tx.commit().await.is_err());
    }
    let mut tx = store.write().await.unwrap();
    tx.delete_sessions_expired_before(Timestamp(0), 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.read().await.unwrap().audit_head().await.unwrap().seq, 1);
}

#[tokio::test]
async fn audit_records_of_a_group_commit_form_one_chain_without_the_rolled_back_ones() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", folder.path().join("countersign.db").display());
    let store = open(&url).await;
    let mut first = store.write().await.unwrap();
    let work = (0..8).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tx = store.write().await.unwrap();
            tx.record(record(i));
            tx.record(record(10 + i));
            match tx.driver() {
                Driver::Sqlite(connection) => connection.execute("UPDATE audit_start SET seq = seq + 1").await.unwrap(),
                Driver::Postgres(_) => unreachable!("the store is a file"),
            };
            if i % 3 == 1 { None } else { Some(tx.commit().await) }
        })
    });
    let work: Vec<_> = work.collect();
    tokio::task::yield_now().await;
    first.record(record(100));
    first.commit().await.unwrap();
    for done in work {
        done.await.unwrap().transpose().unwrap();
    }
    let mut alone = store.write_alone().await.unwrap();
    alone.record(record(200));
    alone.commit().await.unwrap();

    let mut conn = store.read().await.unwrap();
    let (mut rows, head) = (conn.audit_chain(0, 100).await.unwrap(), conn.audit_head().await.unwrap());
    let mut hash = vec![0; 32];
    for (row, seq) in rows.iter().zip(1..) {
        assert_eq!((row.seq, &row.hash), (seq, &chain_key().hash(row, &hash).unwrap()));
        hash.clone_from(&row.hash);
    }
    assert_eq!((head.seq, &head.hash), (13, &hash));
    assert!(chain_key().fits(&head));
    // The last transaction of the group was rolled back.
    assert_eq!(conn.audit_start().await.unwrap().0, 5, "each committed transaction writes once");
    let targets: Vec<_> = rows.drain(1..).map(|row| row.target.unwrap()).collect();
    assert_eq!(targets, ["100", "0", "10", "2", "12", "3", "13", "5", "15", "6", "16", "200"]);
}

/// When closing a reader fails, nothing joins its thread. It could then be the last to close, while the process exits.
#[tokio::test]
async fn readers_close_without_error_and_leave_no_wal_behind() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", folder.path().join("countersign.db").display());
    let store = open(&url).await;
    match &store.pools {
        Pools::Sqlite { read, .. } => {
            while read.status().size > 0 {
                read.remove().await.unwrap().close().await.unwrap();
            }
        }
        Pools::Postgres { .. } => unreachable!("the store is a file"),
    }
    store.close().await;
    let left = ["-wal", "-shm"].map(|end| folder.path().join(format!("countersign.db{end}")).exists());
    assert_eq!(left, [false; 2]);
}

#[tokio::test]
async fn the_first_write_keeps_earlier_reads_valid() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", folder.path().join("countersign.db").display());
    let store = open(&url).await;
    let read = store.invalidation().read_version();
    store.write().await.unwrap().commit().await.unwrap();
    assert!(store.invalidation().unchanged_since(read, [Uuid::nil()]));
}

async fn open(url: &str) -> Store {
    let store = Store::open(&url.parse().unwrap(), Durability::EachCommit, &mut Registry::default()).await.unwrap();
    store.set_chain_key(chain_key());
    let mut tx = store.write().await.unwrap();
    tx.record(AuditRecord::by_system(Event::AuditSealed, Timestamp(1)));
    tx.commit().await.unwrap();
    store
}

fn chain_key() -> ChainKey {
    ChainKey::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]))
}

fn record(target: u32) -> AuditRecord {
    let actor = Some(crate::model::UserId(Uuid::from_u128(7)));
    AuditRecord { actor, target: Some(target.to_string()), ..AuditRecord::by_system(Event::KeyRotated, Timestamp(1)) }
}

/// The steps in which SQLite runs a query.
async fn query_plan(connection: &mut sqlx::SqliteConnection, sql: &str) -> Vec<String> {
    let plan = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let steps = connection.fetch_all(sqlx::raw_sql(plan)).await.unwrap();
    steps.iter().map(|step| sqlx::Row::get(step, "detail")).collect()
}

/// A server that stops while it has few users leaves statistics that say so. SQLite still trusts them after the tables
/// have grown.
#[tokio::test]
async fn credential_lookups_use_indexes_even_with_outdated_statistics() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("countersign.db");
    let url = format!("sqlite://{}", path.display());
    Store::open(&url.parse().unwrap(), Durability::EachCommit, &mut Registry::default()).await.unwrap().close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let outdated = "ANALYZE; DELETE FROM sqlite_stat1; INSERT INTO sqlite_stat1 VALUES ('users', NULL, '1'),
        ('users', 'sqlite_autoindex_users_1', '1 1'), ('sessions', NULL, '100000'),
        ('personal_tokens', NULL, '100000'); ANALYZE sqlite_schema";
    connection.execute(sqlx::raw_sql(outdated)).await.unwrap();
    let queries: serde_json::Value = serde_json::from_str(include_str!("../../sqlx-data.json")).unwrap();
    let queries = queries.as_object().unwrap().values().filter_map(|query| query["query"].as_str());
    let checks: Vec<_> = queries.filter(|sql| sql.contains("/* sqlite */") && sql.contains("JOIN users")).collect();
    assert_eq!(checks.len(), 5);
    for sql in checks {
        let steps = query_plan(&mut connection, sql).await;
        assert!(steps.iter().all(|step| step.starts_with("SEARCH ")), "{steps:?}: {sql}");
    }
}

#[tokio::test]
async fn one_hash_of_each_scheme_is_found_by_an_index() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("countersign.db");
    let url = format!("sqlite://{}", path.display());
    let store = open(&url).await;
    assert!(store.read().await.unwrap().one_hash_of_each_scheme().await.unwrap().is_empty());
    let mut tx = store.write().await.unwrap();
    for (scheme, number) in ["scrypt", "argon2id", "bcrypt", "argon2id", "scrypt", "argon2id"].iter().zip(1..) {
        let hash = PasswordHash(format!("{scheme} {number}"));
        tx.insert_user(&some_user(number), &HashedPassword { hash, scheme: (*scheme).into() }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let found = store.read().await.unwrap().one_hash_of_each_scheme().await.unwrap();
    let mut schemes: Vec<_> = found.iter().map(|hash| hash.0.split(' ').next().unwrap()).collect();
    schemes.sort_unstable();
    assert_eq!(schemes, ["argon2id", "bcrypt", "scrypt"]);
    store.close().await;

    // Without statistics, and with those of the few users.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let queries: serde_json::Value = serde_json::from_str(include_str!("../../sqlx-data.json")).unwrap();
    let queries = queries.as_object().unwrap().values().filter_map(|query| query["query"].as_str());
    let queries: Vec<_> =
        queries.filter(|sql| sql.contains("/* sqlite */") && sql.contains("= found.scheme")).collect();
    let [sql] = queries[..] else { panic!("{queries:?}") };
    for statistics in ["DROP TABLE IF EXISTS sqlite_stat1", "ANALYZE"] {
        connection.execute(sqlx::raw_sql(statistics)).await.unwrap();
        let steps = query_plan(&mut connection, sql).await;
        let tables: Vec<_> = steps.iter().filter(|step| step.contains(" users")).collect();
        // SQLite calls it a search, too, when it reads the whole table for a minimum.
        let by_index = |step: &&String| step.starts_with("SEARCH ") && step.contains(" INDEX users_by_password_scheme");
        assert!(tables.len() == 3 && tables.iter().all(by_index), "{statistics}: {steps:?}");
    }
}

fn some_user(number: u32) -> User {
    User::new(UserId(Uuid::from_u128(number.into())), format!("user-{number}"), Timestamp(1))
}
