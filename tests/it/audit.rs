//! The audit trail: what is done stands in it, and each record hangs on the one before.

use reqwest::Method;
use serde_json::json;

use crate::support::{App, PASSWORD, basic, on_postgres};

/// Every record but those of how the test's users came to be: what, by whom to whom, and by which method.
async fn told(app: &App) -> Vec<String> {
    let count: i32 = app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM audit").await.parse().unwrap();
    let mut told = Vec::new();
    for seq in 1..=count {
        let row = format!(
            "SELECT event || ' ' || CASE WHEN actor_id = subject_id THEN 'self' ELSE 'other' END || ' ' || method
            FROM audit WHERE seq = {seq}"
        );
        told.push(app.database.text(&row).await);
    }
    told.retain(|record| !record.ends_with(" command"));
    told
}

#[tokio::test]
async fn what_is_done_to_sessions_and_tokens_is_recorded() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let made = async || {
        let body = json!({"name": "a"});
        let user = app.with(basic("sergio", PASSWORD));
        user.post("/me/tokens", &body).await.expect(201).json()["id"].as_str().unwrap().to_owned()
    };
    let delete = async |by: &str, path: String| {
        app.with(basic(by, PASSWORD)).send(Method::DELETE, &path).await.expect(204);
    };
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let (opaque, _) = app.tokens("sergio").await;
        sessions.push(app.with(&opaque).get("/me").await.json()["session_id"].as_str().unwrap().to_owned());
    }
    delete("sergio", format!("/me/sessions/{}", sessions[0])).await;
    delete("root", format!("/admin/sessions/{}", sessions[1])).await;
    delete("sergio", "/me/sessions".into()).await;
    delete("sergio", format!("/me/tokens/{}", made().await)).await;
    delete("root", format!("/admin/tokens/{}", made().await)).await;
    made().await;
    delete("root", format!("/admin/users/{id}/tokens")).await;
    assert_eq!(
        told(&app).await,
        [
            "session.ended self basic",
            "session.ended other basic",
            "session.ended self basic",
            "token.created self basic",
            "token.revoked self basic",
            "token.created self basic",
            "token.revoked other basic",
            "token.created self basic",
            "token.revoked other basic",
        ]
    );
}

#[tokio::test]
async fn what_is_done_to_users_is_recorded() {
    let app = App::start().await;
    let body = json!({"username": "sergio", "password": PASSWORD});
    let id = app.admin().post("/admin/users", &body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/users/{id}");
    for patch in [json!({"name": "S"}), json!({"status": "disabled"}), json!({"status": "active"})] {
        app.admin().patch(&path, &patch).await.expect(200);
    }
    let own = json!({"current_password": PASSWORD, "new_password": "another-password"});
    app.with(basic("sergio", PASSWORD)).post("/me/password", &own).await.expect(204);
    app.with(basic("sergio", "another-password")).patch("/me", &json!({"name": null})).await.expect(200);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    assert_eq!(
        told(&app).await,
        [
            "user.created other basic",
            "user.changed other basic",
            "user.disabled other basic",
            "user.enabled other basic",
            "user.password-set self basic",
            "user.changed self basic",
            "user.deleted other basic",
        ]
    );
}

#[tokio::test]
async fn what_was_refused_changes_nothing_and_is_not_recorded_as_done() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("root").await;
    let sid = app.with(&opaque).get("/me").await.json()["session_id"].as_str().unwrap().to_owned();
    app.with(basic("sergio", PASSWORD)).send(Method::DELETE, &format!("/me/sessions/{sid}")).await.expect(404);
    assert!(told(&app).await.is_empty());
}

/// The chain of records, followed by hand: each hash covers its row and the hash before.
#[tokio::test]
async fn each_record_hangs_on_the_one_before() {
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
    assert_eq!(count, 4);
    let mut before = vec![0_u8; 32];
    for seq in 1..=count {
        let fields = serde_json::to_vec(&(
            &before,
            seq,
            value("at", seq).await.unwrap().parse::<i64>().unwrap(),
            value("event", seq).await,
            value("outcome", seq).await,
            (
                uuid(value(&id("actor_id"), seq).await),
                uuid(value(&id("subject_id"), seq).await),
                value("target", seq).await,
            ),
            (value("method", seq).await, value("address", seq).await, value("request_id", seq).await),
        ));
        before = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &fields.unwrap()).as_ref().to_vec();
        let expected: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(value(hash, seq).await, Some(expected));
    }
    let head: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(app.database.text(&format!("SELECT {hash} FROM audit_head")).await, head);
}
