//! Maintenance: how long rows are kept, and that it runs by itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{App, on_postgres};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

async fn count(app: &App, from: &str) -> String {
    app.database.text(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {from}")).await
}

/// Waits until a count is this one, which a task in the background brings about.
async fn until_count(app: &App, from: &str, expected: &str) {
    for _ in 0..1000 {
        if count(app, from).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{from}: {}", count(app, from).await);
}

#[tokio::test]
async fn each_kind_of_row_is_kept_for_its_time_and_then_deleted() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    let now = app.now_seconds() * 1000;
    let bytes = |number: u8, length: usize| match on_postgres() {
        Some(_) if length == 16 => format!("CAST('{}' AS UUID)", hex::encode([number; 16])),
        Some(_) => format!("decode('{}', 'hex')", hex::encode(vec![number; length])),
        None => format!("x'{}'", hex::encode(vec![number; length])),
    };
    let no = if on_postgres().is_some() { "FALSE" } else { "0" };
    let (id, hash, root) = (bytes(1, 16), bytes(1, 32), "(SELECT id FROM users WHERE username = 'root')");
    let secret = |number| format!("({}, 'password-reset', {root}, {now}", bytes(number, 32));
    for sql in [
        format!("UPDATE status_lists SET closed_at = {now}"),
        format!("UPDATE revoked_statuses SET expires_at = {now}"),
        format!(
            "INSERT INTO blocks (id, network, of_account, since, until) VALUES ({id}, '192.0.2.1', {no}, {now}, {now})"
        ),
        format!(
            "INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at)
            VALUES ({id}, {root}, 'a', {hash}, '', {now}, {now})"
        ),
        format!("INSERT INTO idempotency_keys (key_hash, sealed, created_at) VALUES ({hash}, {hash}, {now})"),
        format!(
            "INSERT INTO outbox (id, sealed, created_at, due_at, attempts, bulk) VALUES ({id}, {hash}, {now}, {now}, 0, {no})"
        ),
        format!("INSERT INTO known_networks (user_id, network, seen_at) VALUES ({root}, '192.0.2.1', {now})"),
        // One was used, and one has expired.
        format!(
            "INSERT INTO one_time_secrets (secret_hash, purpose, user_id, created_at, used_at, expires_at)
            VALUES {}, {now}, NULL), {}, NULL, {now})",
            secret(1),
            secret(2)
        ),
    ] {
        app.database.sql(&sql).await;
    }
    let sweep = async || app.service.auth().delete_expired().await.unwrap();
    let mut passed = 0;
    for (table, rows, kept) in [
        ("blocks", "1", 0),
        ("personal_tokens", "1", 0),
        ("revoked_statuses", "1", 10 * MINUTE),
        ("idempotency_keys", "1", DAY),
        ("outbox", "1", 2 * DAY),
        ("one_time_secrets WHERE purpose = 'password-reset'", "2", 30 * DAY),
        ("known_networks WHERE network = '192.0.2.1'", "1", 180 * DAY),
    ] {
        let kept = 1000 * kept;
        // The first of a time comes a millisecond after those before.
        if kept > passed {
            app.advance_clock(Duration::from_millis(kept - passed));
            sweep().await;
            passed = kept;
        }
        assert_eq!(count(&app, table).await, rows, "{table} is kept until then");
        if kept > 0 {
            app.advance_clock(Duration::from_millis(1));
            sweep().await;
            passed += 1;
            assert_eq!(count(&app, table).await, "0", "{table} is deleted then");
        }
    }
    assert_eq!((count(&app, "blocks").await, count(&app, "personal_tokens").await), ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn however_many_rows_have_expired_all_are_deleted_and_counted() {
    let app = App::start().await;
    app.tokens("root").await;
    let now = app.now_seconds() * 1000;
    let (numbers, id, hash) = match on_postgres() {
        Some(_) => {
            ("SELECT generate_series(1, 1001) AS n", "gen_random_uuid()", "decode(md5(n::text) || md5(n::text), 'hex')")
        }
        None => (
            "SELECT n FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1001) SELECT n FROM c)",
            "randomblob(16)",
            "randomblob(32)",
        ),
    };
    let insert = format!(
        "INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at)
        SELECT {id}, (SELECT id FROM users), 'a', {hash}, '', {now}, {now} + 1000 FROM ({numbers}) AS numbers"
    );
    app.database.sql(&insert).await;
    let sweep = async || app.service.auth().delete_expired().await.unwrap();
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(sweep().await, 0);
    app.advance_clock(Duration::from_millis(1));
    assert_eq!(sweep().await, 1001);
    assert_eq!(count(&app, "personal_tokens").await, "0");
    // A session lives for thirty days.
    app.personal_token("root", &json!({"name": "a", "expires_in": 30 * DAY - 1})).await;
    app.advance_clock(Duration::from_secs(30 * DAY));
    assert_eq!(sweep().await, 2, "a session and a token");
    assert_eq!(sweep().await, 0);
}

#[tokio::test]
async fn maintenance_runs_by_itself() {
    let app = App::start_with(&["--key-rotation", "1d", "--audit-retention", "30d"]).await;
    app.advance_clock(Duration::from_secs(DAY));
    if on_postgres().is_some() {
        app.database.sql("DELETE FROM servers").await;
    }
    let token = app.personal_token("root", &json!({"name": "a", "expires_in": 3600})).await;
    app.with(&token).get("/me").await.expect(200);
    let auth = app.service.auth().clone();
    let running = tokio::spawn(async move { auth.run_maintenance().await });
    until_count(&app, "personal_tokens WHERE last_used_at IS NOT NULL", "1").await;
    until_count(&app, "known_networks", "1").await;
    until_count(&app, "signing_keys", "2").await;
    if on_postgres().is_some() {
        until_count(&app, "servers", "1").await;
    }
    // The first clean-up comes after a minute, and the next ones after an hour each.
    let let_pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    for wait in [60, 3600] {
        app.advance_clock(Duration::from_secs(40 * DAY));
        let_pass(wait - 30).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(count(&app, "personal_tokens").await, "1", "not yet");
        let_pass(40).await;
        until_count(&app, "personal_tokens", "0").await;
        // With old records of the audit trail a clean-up ends, and then the hour begins.
        let now = app.now_seconds() * 1000;
        until_count(&app, &format!("audit WHERE event = 'audit.forgotten' AND at = {now}"), "1").await;
        app.personal_token("root", &json!({"name": "a", "expires_in": 3600})).await;
    }
    running.abort();
}
