//! The audit trail: what is recorded, and how it is listed.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{App, PASSWORD, basic};

/// Every record except logins and those of the test's own setup: event, whether the actor is the subject, method.
async fn recorded(app: &App) -> Vec<String> {
    let count: i32 = app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM audit").await.parse().unwrap();
    let mut recorded = Vec::new();
    for seq in 1..=count {
        let row = format!(
            "SELECT event || ' ' || CASE WHEN actor_id = subject_id THEN 'self' ELSE 'other' END || ' ' || method
            FROM audit WHERE seq = {seq}"
        );
        recorded.push(app.database.text(&row).await);
    }
    recorded.retain(|record| {
        ![" command", " system"].iter().any(|method| record.ends_with(method)) && !record.starts_with("login.")
    });
    recorded
}

#[tokio::test]
async fn changes_to_sessions_and_tokens_are_recorded() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let made = async || {
        let body = json!({"name": "a", "scopes": ["profile"]});
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
        recorded(&app).await,
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
async fn changes_to_users_are_recorded() {
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
        recorded(&app).await,
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
async fn refused_requests_change_nothing_and_are_not_recorded_as_done() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("root").await;
    let sid = app.with(&opaque).get("/me").await.json()["session_id"].as_str().unwrap().to_owned();
    app.with(basic("sergio", PASSWORD)).send(Method::DELETE, &format!("/me/sessions/{sid}")).await.expect(404);
    assert!(recorded(&app).await.is_empty());
}

#[tokio::test]
async fn logins_and_failures_are_recorded_without_what_was_typed() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    app.login("sergio").await;
    for (username, password) in [("sergio", "canary-password"), ("canary-name", PASSWORD), ("a:canary", PASSWORD)] {
        app.anon().post("/login", &json!({"username": username, "password": password})).await.expect(401);
    }
    let answer = app.admin().get("/admin/audit?limit=3").await.expect(200);
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    let page = answer.json();
    let recorded: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            assert_eq!((&record["method"], &record["address"]), (&json!("password"), &json!("127.0.0.1")));
            assert_eq!(record["request_id"].as_str().unwrap().len(), 32);
            let text = |name: &str| record[name].as_str().unwrap_or("-").replace(&id, "sergio");
            format!("{} {} {} {}", text("event"), text("outcome"), text("actor"), text("subject"))
        })
        .collect();
    assert_eq!(
        recorded,
        ["login.failed refused - -", "login.failed refused - sergio", "login.succeeded done sergio sergio",]
    );
}

#[tokio::test]
async fn wrong_passwords_and_refreshes_are_recorded_on_every_route() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("sergio").await;
    let before = newest(&app).await["seq"].as_i64().unwrap();
    // Refusals within a minute are one record.
    app.with(basic("sergio", "wrong-password")).get("/me").await.expect(401);
    app.advance_clock(Duration::from_secs(60));
    let wrong = json!({"current_password": "wrong-password", "new_password": "another-password"});
    app.with(&opaque).post("/me/password", &wrong).await.expect(401);
    app.advance_clock(Duration::from_secs(60));
    let asked = app.admin().request(Method::POST, "/oauth/introspect");
    let value = &basic("sergio", "wrong-password")["Basic ".len()..];
    crate::support::Answer::of(asked.form(&[("token", value)])).await.expect(200);
    app.with(&opaque).send(Method::POST, "/refresh").await.expect(200);
    app.with(&opaque).send(Method::POST, "/refresh?rotate=true").await.expect(200);
    // An impossible password is refused without a hash, so it is not recorded.
    app.with(basic("sergio", &"x".repeat(4000))).get("/me").await.expect(401);
    let page = app.admin().get("/admin/audit?limit=4").await.expect(200).json();
    let recorded = page["items"].as_array().unwrap().iter().rev().map(|record| {
        let known = if record["actor"] == record["subject"] { "self" } else { "unknown" };
        format!("{} {} {known}", record["event"].as_str().unwrap(), record["method"].as_str().unwrap())
    });
    let recorded: Vec<_> = recorded.collect();
    assert_eq!(page["items"][3]["seq"], before + 1);
    assert_eq!(
        recorded,
        [
            "login.failed basic unknown",
            "login.failed opaque self",
            "login.failed basic unknown",
            // A refresh that exchanges nothing changes nothing.
            "session.refreshed opaque self",
        ]
    );
}

async fn newest(app: &App) -> serde_json::Value {
    app.admin().get("/admin/audit?limit=1").await.expect(200).json()["items"][0].clone()
}

#[tokio::test]
async fn the_trail_is_filtered_by_user_event_and_time_in_pages() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    for username in ["sergio", "root", "sergio"] {
        app.advance_clock(Duration::from_secs(3600));
        let (opaque, _) = app.tokens(username).await;
        app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    }
    // audit.sealed, user.created for root and sergio, then login.succeeded and session.ended three times.
    for limit in [1, 3, 1000] {
        for (query, seqs) in [
            (String::new(), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
            (format!("user={id}"), vec![9, 8, 5, 4, 3]),
            ("event=session.ended".into(), vec![9, 7, 5]),
            (format!("user={id}&event=session.ended"), vec![9, 5]),
            ("since=2026-01-01T02:00:00Z".into(), vec![9, 8, 7, 6]),
            ("since=2026-01-01T03:30:00%2B01:00".into(), vec![9, 8]),
            ("since=2027-01-01T00:00:00Z".into(), vec![]),
        ] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let page =
                    app.admin().get(&format!("/admin/audit?limit={limit}&{query}{after}")).await.expect(200).json();
                seen.extend(page["items"].as_array().unwrap().iter().map(|record| record["seq"].as_i64().unwrap()));
                match page["next"].as_i64() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            assert_eq!(seen, seqs, "{query}");
        }
    }
    for (query, error) in [
        ("since=yesterday", "since:malformed"),
        ("user=root", "user:malformed"),
        ("limit=0", "limit:out-of-range"),
        ("event=login.fail", "event:unknown"),
        ("event=%00", "event:unknown"),
    ] {
        assert_eq!(app.admin().get(&format!("/admin/audit?{query}")).await.expect(422).field_errors(), [error]);
    }
}

#[tokio::test]
async fn a_record_says_what_changed_and_which_system_user_ran_a_command() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let path = format!("/admin/users/{id}");
    let patch = json!({"roles": ["user", "editor", "admin"], "email": "canary@example.com"});
    app.admin().patch(&path, &patch).await.expect(200);
    app.admin().patch(&path, &json!({"roles": ["user"], "name": "Canary"})).await.expect(200);
    let page = app.admin().get(&format!("/admin/audit?user={id}")).await.expect(200);
    assert!(!page.text.to_lowercase().contains("canary"), "{}", page.text);
    let page = page.json();
    let details: Vec<_> = page["items"].as_array().unwrap().iter().map(|row| row["detail"].as_str().unwrap()).collect();
    let [second, first, created] = details.as_slice() else { panic!("{details:?}") };
    assert_eq!((*second, *first), ("roles: -admin -editor; name", "roles: +admin +editor; email"));
    assert!(created.starts_with("roles: user; by system user "), "{created}");
    assert_eq!(app.admin().get("/admin/audit/verify").await.expect(200).json()["ok"], true);
}
