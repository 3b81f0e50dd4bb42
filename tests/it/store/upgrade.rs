//! Migration of a database of an earlier version.

use std::fs;
use std::time::{Duration, Instant};

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
            "DROP TABLE IF EXISTS changes; DROP TABLE IF EXISTS change_head; DROP TABLE IF EXISTS servers; DROP TABLE one_time_secrets; DROP TABLE outbox; DROP INDEX users_by_verified_email; ALTER TABLE users DROP COLUMN email_verified;
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
