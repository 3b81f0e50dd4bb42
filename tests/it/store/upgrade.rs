//! Migration of a database of an earlier version.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Answer, App, Binary, Database, PASSWORD, basic, bearer, on_postgres};

/// How many migrations there are.
fn migrations() -> usize {
    let folder = if on_postgres().is_some() { "migrations/postgres" } else { "migrations" };
    fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
}

/// The database of the first version has a user with a session, and a signing key.
#[tokio::test]
async fn sessions_and_keys_of_the_first_schema_survive_migration() {
    let database = Database::new().await;
    let app = App::on(database.clone(), &[]).await;
    app.create("root", &["user", "admin"]).await;
    let login = app.login("root").await;
    let kid = app.anon().get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].clone();
    drop(app);
    // Back to the first schema: what came later is taken away.
    let hash = if on_postgres().is_some() { "BYTEA" } else { "BLOB" };
    database
        .sql(&format!(
            "DROP TABLE IF EXISTS changes; DROP TABLE IF EXISTS change_head; DROP TABLE IF EXISTS servers; DROP TABLE IF EXISTS guesses; DROP TABLE one_time_secrets; DROP TABLE outbox; DROP INDEX users_by_verified_email; ALTER TABLE users DROP COLUMN email_verified;
            DROP INDEX users_by_password_scheme; ALTER TABLE users DROP COLUMN password_scheme;
            CREATE TABLE setup (id INTEGER PRIMARY KEY, token_hash {hash} NOT NULL, created_at BIGINT NOT NULL);
            INSERT INTO setup SELECT 1, token_hash, 7 FROM sessions LIMIT 1;"
        ))
        .await;
    database
        .sql(
            "DROP TABLE blocks; DROP TABLE known_networks; DROP TABLE audit_start; DROP TABLE idempotency_keys; DROP INDEX audit_by_time; DROP INDEX audit_by_event; DROP INDEX audit_by_actor; DROP INDEX audit_by_subject;
            DROP INDEX users_by_name; DROP INDEX users_by_email; DROP INDEX users_disabled; DROP INDEX users_uncommon;
            CREATE INDEX users_by_role ON users (roles, id) WHERE roles <> 'user';
            ALTER TABLE users DROP COLUMN name_key; ALTER TABLE users DROP COLUMN email_key;
            DROP INDEX sessions_by_status; DROP INDEX sessions_by_user; DROP INDEX signing_keys_by_generation;
            DROP TABLE rotated_tokens; DROP TABLE personal_tokens; DROP TABLE audit; DROP TABLE audit_head;
            DROP TABLE revoked_statuses;
            ALTER TABLE sessions DROP COLUMN status_idx; ALTER TABLE sessions DROP COLUMN rotations;
            ALTER TABLE sessions DROP COLUMN last_seen_at; ALTER TABLE sessions DROP COLUMN status_list;
            DROP TABLE status_lists;
            ALTER TABLE signing_keys DROP COLUMN longest_jwt_ttl; ALTER TABLE signing_keys DROP COLUMN generation; ALTER TABLE signing_keys DROP COLUMN signs_from;
            ALTER TABLE signing_keys RENAME COLUMN verifies_until TO retired_at;
            CREATE INDEX sessions_by_user ON sessions (user_id, id);
            CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE retired_at IS NULL;
            DELETE FROM _sqlx_migrations WHERE version > 1;",
        )
        .await;
    let app = App::on(database, &[]).await;
    for token in ["token", "opaque_token"] {
        app.with(bearer(login[token].as_str().unwrap())).get("/me").await.expect(200);
    }
    assert_eq!(app.anon().get("/.well-known/jwks.json").await.json()["keys"][0]["kid"], kid);
    // The setup token is a one-time secret now, and hashes have the name of their scheme once the server has looked.
    let moved = "SELECT purpose || created_at || COALESCE(used_at, 0) FROM one_time_secrets";
    assert_eq!(app.database.text(moved).await, "setup70");
    app.service.auth().refresh_known_costs().await.unwrap();
    assert_eq!(app.database.text("SELECT password_scheme FROM users").await, "argon2id v=19 m=8 t=1 p=1");
    let count = "SELECT CAST(COUNT(*) AS TEXT) FROM _sqlx_migrations";
    assert_eq!(app.database.text(count).await, migrations().to_string());
}

/// While servers are replaced one by one, those of the version before work on the new schema. `queries_before.json` has their
/// queries and the number of their last migration; at a release it is written anew, from `sqlx-data.json`.
#[tokio::test]
async fn servers_of_the_version_before_can_work_on_the_new_schema() {
    let before: Value = serde_json::from_str(include_str!("queries_before.json")).unwrap();
    let database = Database::new().await;
    database.migrate_to(i64::MAX).await;
    let (store, folder) = match on_postgres() {
        Some(_) => ("postgres", "migrations/postgres"),
        None => ("sqlite", "migrations"),
    };
    let queries = before[store].as_array().unwrap();
    assert!(queries.len() > 100);
    for query in queries {
        let query = query.as_str().unwrap();
        assert_eq!(database.objection_to(query).await, None, "{query}");
    }
    assert!(database.objection_to("SELECT nothing FROM users").await.is_some());
    // What a query that is prepared would not show.
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(number) = name.get(..4).and_then(|number| number.parse::<u64>().ok()) else { continue };
        if number <= before["migrations"].as_u64().unwrap() {
            continue;
        }
        let sql = fs::read_to_string(&path).unwrap();
        for statement in sql.split(';') {
            let takes_away =
                ["DROP TABLE", "DROP COLUMN", "RENAME", "SET NOT NULL"].iter().any(|word| statement.contains(word));
            let demands =
                statement.contains("ADD COLUMN") && statement.contains("NOT NULL") && !statement.contains("DEFAULT");
            assert!(!takes_away && !demands, "{name} is too early; first a version that does without:{statement}");
        }
    }
}

/// A server that starts migrates, makes the first key and begins the audit trail; of ten, one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_servers_that_start_together_on_an_empty_database_prepare_it_once() {
    let database = Database::new().await;
    let servers: Vec<_> = (0..10)
        .map(|_| {
            let server = Binary::new(database.folder.path()).env("DATABASE_URL", &database.url);
            tokio::task::spawn_blocking(move || server.serve())
        })
        .collect();
    let servers: Vec<_> = join_all(servers).await.into_iter().map(Result::unwrap).collect();
    let client = reqwest::Client::new();
    let mut keys = Vec::new();
    for server in &servers {
        Answer::of(client.get(format!("{}/ready", server.url()))).await.expect(200);
        keys.push(Answer::of(client.get(format!("{}/.well-known/jwks.json", server.url()))).await.expect(200).text);
    }
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let count = async |query: &str| database.text(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {query}")).await;
    assert_eq!(count("_sqlx_migrations").await, migrations().to_string());
    assert_eq!(count("signing_keys").await, "1");
    assert_eq!(count("audit WHERE event = 'audit.sealed'").await, "1");
    assert_eq!(count("audit WHERE event = 'audit.broken'").await, "0");
}

/// The server is killed as soon as so many migrations are there.
#[tokio::test]
async fn a_migration_that_is_killed_midway_completes_at_the_next_start() {
    let count = "SELECT CAST(COUNT(*) AS TEXT) FROM _sqlx_migrations";
    let all = migrations();
    let mut midway = 0;
    for wanted in 1..all {
        let database = Database::new().await;
        let server = || Binary::new(database.folder.path()).env("DATABASE_URL", &database.url);
        let killed = server().args(&["--listen", "127.0.0.1:0"]).spawn();
        let deadline = Instant::now() + Duration::from_secs(20);
        let applied = async || database.try_text(count).await.map_or(0, |count| count.parse::<usize>().unwrap());
        while applied().await < wanted {
            assert!(Instant::now() < deadline, "{wanted} of {all} migrations");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(killed);
        midway += usize::from(applied().await < all);
        let server =
            server().env("COUNTERSIGN_ADMIN_USERNAME", "root").env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD).serve();
        assert_eq!(applied().await, all);
        let login = reqwest::Client::new().post(format!("{}/login", server.url()));
        Answer::of(login.header("authorization", basic("root", PASSWORD))).await.expect(200);
    }
    assert!(midway > 0, "every kill came too late");
}
