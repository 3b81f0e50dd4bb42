//! The chain of the audit trail: what shows that a record was changed, removed or added.

use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use crate::support::{App, Binary, on_postgres, secret_key};

/// Computes the hash chain by hand: each hash covers its row and the hash before, under a key derived from the secret key.
#[tokio::test]
async fn each_record_is_chained_to_the_one_before() {
    let app = App::start().await;
    for _ in 0..3 {
        let (opaque, _) = app.tokens("root").await;
        app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    }
    let on_postgres = on_postgres().is_some();
    let hash = if on_postgres { "encode(hash, 'hex')" } else { "lower(hex(hash))" };
    let id = |column: &str| if on_postgres { format!("{column}::text") } else { format!("lower(hex({column}))") };
    let value = async |column: &str, seq: i32| {
        let row = format!("SELECT COALESCE(CAST({column} AS TEXT), '') FROM audit WHERE seq = {seq}");
        Some(app.database.text(&row).await).filter(|text| !text.is_empty())
    };
    let uuid = |text: Option<String>| text.map(|text| uuid::Uuid::parse_str(&text).unwrap());
    let count: i32 = app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM audit").await.parse().unwrap();
    assert_eq!(count, 8);
    let secret = STANDARD.decode(secret_key()).unwrap();
    let derived = Salt::new(HKDF_SHA256, &[]).extract(&secret);
    let key: hmac::Key = derived.expand(&[b"countersign audit trail"], hmac::HMAC_SHA256).unwrap().into();
    let mut before = vec![0_u8; 32];
    for seq in 1..=count {
        let whom = (
            uuid(value(&id("actor_id"), seq).await),
            uuid(value(&id("subject_id"), seq).await),
            value("target", seq).await,
        );
        let how = (value("method", seq).await, value("address", seq).await, value("request_id", seq).await);
        let at = value("at", seq).await.unwrap().parse::<i64>().unwrap();
        let (event, outcome) = (value("event", seq).await, value("outcome", seq).await);
        // Records from before there were details have seven members.
        let fields = match value("detail", seq).await {
            Some(detail) => serde_json::to_vec(&(&before, seq, at, event, outcome, whom, how, detail)),
            None => serde_json::to_vec(&(&before, seq, at, event, outcome, whom, how)),
        };
        before = hmac::sign(&key, &fields.unwrap()).as_ref().to_vec();
        let expected: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(value(hash, seq).await, Some(expected));
    }
    let newest = app.admin().get("/admin/audit?limit=1").await.json()["items"][0].clone();
    assert_eq!(newest["hash"].as_str(), value(hash, count).await.as_deref());
    let head: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(app.database.text(&format!("SELECT {hash} FROM audit_head")).await, head);
}

async fn verified(app: &App) -> serde_json::Value {
    app.admin().get("/admin/audit/verify").await.expect(200).json()
}

#[tokio::test]
async fn a_changed_or_missing_record_is_detected() {
    let app = App::start().await;
    for _ in 0..5 {
        app.tokens("root").await;
    }
    assert_eq!(verified(&app).await, json!({"ok": true, "records": 7, "unsealed": 0, "broken_at": null}));
    for (change, back, broken_at) in [
        (
            "UPDATE audit SET address = '192.0.2.1' WHERE seq = 3",
            "UPDATE audit SET address = '127.0.0.1' WHERE seq = 3",
            3,
        ),
        ("UPDATE audit SET seq = 100 WHERE seq = 4", "UPDATE audit SET seq = 4 WHERE seq = 100", 4),
        ("UPDATE audit SET seq = 100 WHERE seq = 7", "UPDATE audit SET seq = 7 WHERE seq = 100", 7),
        ("UPDATE audit SET seq = -1 WHERE seq = 1", "UPDATE audit SET seq = 1 WHERE seq = -1", 1),
        ("UPDATE audit_head SET seq = 8", "UPDATE audit_head SET seq = 7", 8),
        ("UPDATE audit_head SET seq = 6", "UPDATE audit_head SET seq = 7", 6),
        (
            "INSERT INTO audit (seq, at, event, outcome, method, hash)
            SELECT 8, at, event, outcome, method, hash FROM audit WHERE seq = 7",
            "DELETE FROM audit WHERE seq = 8",
            8,
        ),
    ] {
        app.database.sql(change).await;
        let answer = verified(&app).await;
        assert_eq!((&answer["ok"], &answer["broken_at"]), (&json!(false), &json!(broken_at)), "{change}");
        app.database.sql(back).await;
        assert_eq!(verified(&app).await["ok"], true, "{back}");
    }
}

/// Who lacks the key could otherwise make a record old, and have the server delete it.
#[tokio::test]
async fn retention_deletes_no_proof_of_a_change() {
    let app = App::start_with(&["--audit-retention", "30d"]).await;
    for _ in 0..3 {
        app.tokens("root").await;
    }
    app.database.sql("UPDATE audit SET at = 0 WHERE seq <= 3").await;
    assert_eq!(verified(&app).await["broken_at"], 1);
    app.service.auth().delete_expired().await.unwrap();
    let answer = verified(&app).await;
    assert_eq!((&answer["ok"], &answer["broken_at"]), (&json!(false), &json!(7)), "audit.broken says so");
}

#[tokio::test]
async fn records_past_retention_are_deleted_and_the_rest_still_verifies() {
    let app = App::start_with(&["--audit-retention", "30d"]).await;
    for _ in 0..3 {
        app.advance_clock(Duration::from_secs(10 * 86_400));
        app.tokens("root").await;
    }
    let sweep = async || app.service.auth().delete_expired().await.unwrap();
    app.advance_clock(Duration::from_secs(5 * 86_400));
    sweep().await;
    // Of the events, only audit.sealed and user.created are older than 30 days.
    let seqs = async || {
        let page = app.admin().get("/admin/audit").await.expect(200).json();
        let items = page["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|record| format!("{} {}", record["seq"], record["event"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs().await, ["6 audit.forgotten", "5 login.succeeded", "4 login.succeeded", "3 login.succeeded"]);
    assert_eq!(verified(&app).await, json!({"ok": true, "records": 4, "unsealed": 0, "broken_at": null}));
    sweep().await;
    assert_eq!(seqs().await.len(), 4, "nothing to delete, nothing to record");
    app.advance_clock(Duration::from_secs(16 * 86_400));
    sweep().await;
    assert_eq!(seqs().await, ["7 audit.forgotten", "6 audit.forgotten", "5 login.succeeded"]);
    assert_eq!(verified(&app).await, json!({"ok": true, "records": 3, "unsealed": 0, "broken_at": null}));

    // Deleting more and moving the start of the chain is detected: no record of it exists.
    let moved = "UPDATE audit_start SET seq = 5, hash = (SELECT hash FROM audit WHERE seq = 5)";
    app.database.sql(&format!("{moved}; DELETE FROM audit WHERE seq = 5")).await;
    assert_eq!(verified(&app).await, json!({"ok": false, "records": 0, "unsealed": 0, "broken_at": 6}));
}

/// What someone can do who has the database and not the secret key. Each is tried on a database of its own.
#[tokio::test]
async fn whoever_lacks_the_secret_key_cannot_cut_the_trail_or_write_in_it_unseen() {
    let end = "hash = (SELECT hash FROM audit WHERE seq = 5)";
    let hex = if on_postgres().is_some() { "encode(hash, 'hex')" } else { "lower(hex(hash))" };
    let forged = format!(
        "INSERT INTO audit (seq, at, event, outcome, method, target, hash)
        SELECT 8, at, 'audit.forgotten', 'done', 'system', 'to 3 ' || {hex}, hash FROM audit WHERE seq = 3"
    );
    let zeros = if on_postgres().is_some() { "decode(repeat('00', 32), 'hex')" } else { "zeroblob(32)" };
    for (what, sql, broken_at, after_a_write) in [
        ("its end", format!("DELETE FROM audit WHERE seq > 5; UPDATE audit_head SET seq = 5, {end}"), 6, 6),
        (
            "its end and its seal",
            format!("DELETE FROM audit WHERE seq > 5; UPDATE audit_head SET seq = 5, {end}, seal = NULL"),
            6,
            6,
        ),
        ("all of it", format!("DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = {zeros}"), 1, 1),
        (
            "all of it and its seal",
            format!("DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = {zeros}, seal = NULL"),
            1,
            1,
        ),
        (
            "its beginning, with a record of that",
            format!(
                "{forged}; UPDATE audit_start SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3);
                DELETE FROM audit WHERE seq <= 3; UPDATE audit_head SET seq = 8"
            ),
            8,
            8,
        ),
        ("the end, set back before records that are there", format!("UPDATE audit_head SET seq = 5, {end}"), 6, 8),
    ] {
        let app = App::start().await;
        for _ in 0..5 {
            app.tokens("root").await;
        }
        app.database.sql(&sql).await;
        assert_eq!(verified(&app).await["broken_at"], broken_at, "{what}");
        // Writes go on, by this server and by the next, and hide nothing.
        app.tokens("root").await;
        assert_eq!(verified(&app).await["broken_at"], after_a_write, "{what}, after a write");
        let app = App::on(app.database.clone(), &[]).await;
        app.tokens("root").await;
        assert_eq!(verified(&app).await["broken_at"], after_a_write, "{what}, after a restart");
        let broken = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'audit.broken'";
        assert_eq!(app.database.text(broken).await, "1", "{what}");
    }
}

#[tokio::test]
async fn a_seal_that_was_taken_away_before_a_start_shows() {
    let app = App::start().await;
    app.tokens("root").await;
    app.database.sql("UPDATE audit_head SET seal = NULL").await;
    let app = App::on(app.database.clone(), &[]).await;
    assert_eq!(verified(&app).await, json!({"ok": false, "records": 3, "unsealed": 0, "broken_at": 4}));
}

/// Hashes that nobody can check are accepted from a trail that was brought here under its own seal only.
#[tokio::test]
async fn a_trail_whose_hashes_and_seal_were_all_replaced_shows() {
    let app = App::start().await;
    app.tokens("root").await;
    let noise =
        if on_postgres().is_some() { "decode(md5(seq::text) || md5(seq::text), 'hex')" } else { "randomblob(32)" };
    app.database.sql(&format!("UPDATE audit SET hash = {noise}")).await;
    app.database
        .sql("UPDATE audit_head SET seal = NULL, hash = (SELECT hash FROM audit ORDER BY seq DESC LIMIT 1)")
        .await;
    let app = App::on(app.database.clone(), &[]).await;
    assert_eq!(verified(&app).await["ok"], false);
}

/// A trail from before there was a key, and a server that is first started with a key which is not that of the database.
#[tokio::test]
async fn a_wrong_secret_key_seals_nothing() {
    let app = App::start().await;
    app.database.sql("UPDATE audit_head SET seal = NULL").await;
    let count = "SELECT CAST(COUNT(*) AS TEXT) FROM audit";
    let before = app.database.text(count).await;
    app.service.auth().stop().await;
    let wrong = Binary::new(app.database.folder.path())
        .env("DATABASE_URL", &app.database.url)
        .env("COUNTERSIGN_SECRET_KEY", &STANDARD.encode([8; 32]));
    let said = String::from_utf8(wrong.args(&["audit", "verify"]).output().stderr).unwrap();
    assert!(said.contains("COUNTERSIGN_SECRET_KEY"), "{said}");
    assert_eq!(app.database.text(count).await, before);
}

/// Rewrites the trail as an earlier version would have written it.
#[tokio::test]
async fn the_records_of_an_earlier_version_hang_together_and_are_counted_apart() {
    for records in [1, 2] {
        check_earlier_version(records).await;
    }
}

/// With so many records of the earlier version.
async fn check_earlier_version(records: i64) {
    let app = App::start().await;
    app.tokens("root").await;
    let blob =
        |hex: String| if on_postgres().is_some() { format!("decode('{hex}', 'hex')") } else { format!("x'{hex}'") };
    let mut before = vec![0_u8; 32];
    app.database
        .sql(&format!(
        "DELETE FROM audit WHERE seq > {records}; UPDATE audit SET actor_id = NULL, subject_id = NULL, detail = NULL,
        target = NULL, address = NULL, request_id = NULL"
    ))
        .await;
    for seq in 1..=records {
        let text = async |column: &str| {
            app.database.text(&format!("SELECT CAST({column} AS TEXT) FROM audit WHERE seq = {seq}")).await
        };
        let whom = (None::<String>, None::<String>, None::<String>);
        let how = (Some(text("method").await), None::<String>, None::<String>);
        let at: i64 = text("at").await.parse().unwrap();
        let fields =
            serde_json::to_vec(&(&before, seq, at, text("event").await, text("outcome").await, whom, how)).unwrap();
        before = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &fields).as_ref().to_vec();
        let hash = blob(before.iter().map(|byte| format!("{byte:02x}")).collect());
        app.database.sql(&format!("UPDATE audit SET hash = {hash} WHERE seq = {seq}")).await;
    }
    let end = format!("(SELECT hash FROM audit WHERE seq = {records})");
    app.database.sql(&format!("UPDATE audit_head SET seq = {records}, seal = NULL, hash = {end}")).await;
    let app = App::on(app.database.clone(), &[]).await;
    app.tokens("root").await;
    assert_eq!(
        verified(&app).await,
        json!({"ok": true, "records": records + 2, "unsealed": records, "broken_at": null})
    );
    let sealed = format!("SELECT event || ' ' || target FROM audit WHERE seq = {}", records + 1);
    assert_eq!(app.database.text(&sealed).await, "audit.sealed unkeyed");
    app.database.sql("UPDATE audit SET outcome = 'refused' WHERE seq = 1").await;
    assert_eq!(verified(&app).await["broken_at"], 1);
}
