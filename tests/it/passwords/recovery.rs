//! One-time links: invitations, and passwords that were forgotten.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, Database, PASSWORD, basic, bearer};

const NEW: &str = "a-password-of-my-choice";

/// The secret at the end of a link.
fn token_of(created: &Value) -> String {
    created["url"].as_str().unwrap().rsplit_once("/link/").unwrap().1.to_owned()
}

/// Creates the user `ana`, who is invited. Returns the response.
async fn invite(app: &App) -> Value {
    let body = json!({"username": "ana", "name": "Ana M.", "email": "ana@example.com", "invite": true});
    app.admin().post("/admin/users", &body).await.expect(201).json()
}

async fn link(app: &App, id: &str, purpose: &str) -> String {
    let created = app.admin().post(&format!("/admin/users/{id}/link"), &json!({"purpose": purpose})).await;
    token_of(&created.expect(201).json())
}

async fn reset(app: &App, token: &str, password: &str) -> Answer {
    app.anon().post("/password/reset", &json!({"token": token, "new_password": password})).await
}

#[tokio::test]
async fn an_invited_user_chooses_a_password_once_and_logs_in() {
    let app = App::start_with(&["--public-url", "https://auth.example.com/base/"]).await;
    let created = invite(&app).await;
    assert!(created["url"].as_str().unwrap().starts_with("https://auth.example.com/base/link/"), "{created}");
    assert_eq!((&created["username"], &created["expires_at"]), (&json!("ana"), &json!("2026-01-08T00:00:00.000Z")));
    for password in [PASSWORD, "!", ""] {
        app.with(basic("ana", password)).get("/me").await.expect(401);
    }
    let token = token_of(&created);
    assert_eq!(token.len(), 43);
    reset(&app, &token, NEW).await.expect(204);
    app.with(basic("ana", NEW)).get("/me").await.expect(200);
    assert_eq!(reset(&app, &token, PASSWORD).await.expect(410).problem(), "link-spent");
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(401);
    let audit = app.admin().get("/admin/audit?event=user.password-set").await.expect(200).json();
    let record = &audit["items"][0];
    assert_eq!((&record["method"], &record["actor"]), (&json!("link"), &created["id"]), "{record}");
    assert!(!audit.to_string().contains(&token));
}

#[tokio::test]
async fn a_user_is_created_with_a_password_or_invited_and_not_both() {
    let app = App::start().await;
    for (body, error) in [
        (json!({"username": "ana"}), "password:required"),
        (json!({"username": "ana", "invite": false}), "password:required"),
        (json!({"username": "ana", "password": PASSWORD, "invite": true}), "password:not-allowed"),
    ] {
        let answer = app.admin().post("/admin/users", &body).await.expect(422);
        assert_eq!(answer.field_errors(), [error]);
    }
    let created = app.admin().post("/admin/users", &json!({"username": "ana", "password": PASSWORD})).await.expect(201);
    assert_eq!(created.json().get("url"), None);
}

#[tokio::test]
async fn of_fifty_uses_of_a_link_at_once_one_succeeds() {
    let app = App::start_with(&["--hash-queue", "1000"]).await;
    let token = token_of(&invite(&app).await);
    let passwords: Vec<_> = (0..50).map(|i| format!("choice number {i}")).collect();
    let answers = join_all(passwords.iter().map(|password| reset(&app, &token, password))).await;
    let succeeded: Vec<_> = answers.iter().zip(&passwords).filter(|(answer, _)| answer.status == 204).collect();
    assert_eq!(succeeded.len(), 1);
    assert!(answers.iter().all(|answer| [204, 410].contains(&answer.status.as_u16())), "{answers:?}");
    app.with(basic("ana", succeeded[0].1)).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_password_that_is_refused_uses_no_link_up() {
    let app = App::start().await;
    let token = token_of(&invite(&app).await);
    for (password, error) in [
        ("short", "new_password:too-short"),
        ("password123", "new_password:common"),
        ("ana@example.com", "new_password:own-name"),
    ] {
        assert_eq!(reset(&app, &token, password).await.expect(422).field_errors(), [error]);
    }
    reset(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn a_text_that_is_no_live_link_is_spent() {
    let app = App::start().await;
    let token = token_of(&invite(&app).await);
    let setup = app.database.text("SELECT MIN(purpose) FROM one_time_secrets").await;
    assert_eq!(setup, "invitation");
    for wrong in ["", "x", &token[1..], &format!("{token}="), &format!("{token}A"), &"A".repeat(43), &"é".repeat(43)] {
        assert_eq!(reset(&app, wrong, NEW).await.expect(410).problem(), "link-spent", "{wrong}");
    }
    reset(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn a_link_ends_with_its_time_a_newer_one_and_every_change_of_the_account() {
    let app = App::start_with(&["--reset-ttl", "10m", "--invitation-ttl", "2d"]).await;
    let id = app.create("ana", &["user"]).await;
    let path = format!("/admin/users/{id}");
    let spent = async |token: &str, why: &str| {
        assert_eq!(reset(&app, token, NEW).await.status, 410, "{why}");
    };

    let (older, newer) = (link(&app, &id, "invitation").await, link(&app, &id, "password-reset").await);
    spent(&older, "a newer link").await;
    app.advance_clock(Duration::from_secs(599));
    reset(&app, &newer, "another-password").await.expect(204);
    let late = link(&app, &id, "password-reset").await;
    app.advance_clock(Duration::from_secs(600));
    spent(&late, "its time").await;
    let invitation = link(&app, &id, "invitation").await;
    app.advance_clock(Duration::from_secs(2 * 86_400 - 1));
    reset(&app, &invitation, PASSWORD).await.expect(204);

    let token = link(&app, &id, "password-reset").await;
    app.admin().patch(&path, &json!({"name": "Ana"})).await.expect(200);
    app.anon().get(&format!("/link/{token}")).await.expect(200);
    app.admin().patch(&path, &json!({"email": "new@example.com"})).await.expect(200);
    spent(&token, "another address").await;

    let token = link(&app, &id, "password-reset").await;
    let change = json!({"current_password": PASSWORD, "new_password": "changed-by-myself"});
    app.with(basic("ana", PASSWORD)).post("/me/password", &change).await.expect(204);
    spent(&token, "a change of the password").await;

    let token = link(&app, &id, "password-reset").await;
    let set = app.admin().request(Method::PUT, &format!("{path}/password")).json(&json!({"password": PASSWORD}));
    Answer::of(set).await.expect(204);
    spent(&token, "a password set by an admin").await;

    let token = link(&app, &id, "password-reset").await;
    app.admin().patch(&path, &json!({"status": "disabled"})).await.expect(200);
    let refused = app.admin().post(&format!("{path}/link"), &json!({"purpose": "password-reset"})).await.expect(409);
    assert_eq!(refused.problem(), "user-disabled");
    app.admin().patch(&path, &json!({"status": "active"})).await.expect(200);
    spent(&token, "a disabled user").await;
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(200);

    let token = link(&app, &id, "password-reset").await;
    app.admin().send(Method::DELETE, &path).await.expect(204);
    spent(&token, "a deleted user").await;
}

#[tokio::test]
async fn a_link_is_made_by_admins_for_users_that_there_are() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let body = json!({"purpose": "password-reset"});
    let path = format!("/admin/users/{id}/link");
    app.with(basic("ana", PASSWORD)).post(&path, &body).await.expect(403);
    app.anon().post(&path, &body).await.expect(401);
    let nobody = "/admin/users/01890a5d-ac96-774b-bcce-b302099a8057/link";
    app.admin().post(nobody, &body).await.expect(404);
    for wrong in [json!({}), json!({"purpose": "setup"}), json!({"purpose": "invitation", "to": "me"})] {
        app.admin().post(&path, &wrong).await.expect(422);
    }
}

#[tokio::test]
async fn a_reset_ends_all_sessions_and_tokens_and_the_duty_to_change_the_password() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let (opaque, jwt) = app.tokens("ana").await;
    let personal = app.personal_token("ana", &json!({"name": "script"})).await;
    app.database.sql("UPDATE users SET must_change_password = must_change_password OR username = 'ana'").await;
    let token = link(&app, &id, "password-reset").await;
    reset(&app, &token, NEW).await.expect(204);
    for credential in [opaque, jwt, personal, basic("ana", PASSWORD)] {
        app.with(credential).get("/me").await.expect(401);
    }
    app.with(basic("ana", NEW)).get("/me").await.expect(200);
}

#[tokio::test]
async fn whoever_has_tried_too_many_passwords_gets_in_with_the_one_of_a_link() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    let id = app.create("ana", &["user"]).await;
    for i in 0..3 {
        app.with(basic("ana", &format!("forgotten {i}"))).get("/me").await.expect(401);
    }
    app.with(basic("ana", NEW)).get("/me").await.expect(429);
    // The limit of the whole network holds for the admin of this test, too.
    let admin = countersign::auth::Actor::Operator;
    let auth = app.service.auth();
    let link =
        auth.create_link(admin, id.parse().unwrap(), countersign::model::LinkPurpose::PasswordReset, false, None).await;
    let url = secrecy::ExposeSecret::expose_secret(&link.unwrap().url.unwrap()).to_owned();
    reset(&app, url.rsplit('/').next().unwrap(), NEW).await.expect(204);
    app.with(basic("ana", NEW)).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_retried_invitation_has_the_same_link() {
    let app = App::start().await;
    let body = json!({"username": "ana", "invite": true});
    let send = async || {
        let request = app.admin().request(Method::POST, "/admin/users").header("idempotency-key", "1").json(&body);
        Answer::of(request).await.expect(201).json()
    };
    let first = send().await;
    assert_eq!(send().await, first);
    reset(&app, &token_of(&first), NEW).await.expect(204);
}

#[tokio::test]
async fn an_invited_admin_is_no_admin_before_they_have_a_password() {
    let app = App::on(Database::new().await, &["--setup-token", "setup-token-of-the-test"]).await;
    let setup = app.with(bearer("setup-token-of-the-test"));
    let body = json!({"username": "boss", "roles": ["user", "admin"], "invite": true});
    let created = setup.post("/admin/users", &body).await.expect(201).json();
    // The setup token still works: the link may be lost.
    let body = json!({"username": "root", "password": PASSWORD, "roles": ["user", "admin"]});
    let root = setup.post("/admin/users", &body).await.expect(201).json();
    let path = format!("/admin/users/{}", root["id"].as_str().unwrap());
    assert_eq!(app.admin().send(Method::DELETE, &path).await.expect(409).problem(), "last-admin");
    reset(&app, &token_of(&created), NEW).await.expect(204);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    app.with(basic("boss", NEW)).get("/admin/users").await.expect(200);
}

#[tokio::test]
async fn an_invited_user_is_exported_and_imported_without_a_password() {
    let app = App::start().await;
    invite(&app).await;
    let exported = app.admin().get("/admin/export").await.expect(200).text;
    assert!(exported.lines().any(|row| row.contains(r#""username":"ana""#) && row.contains(r#""password_hash":"!""#)));
    let other = App::start().await;
    let import = async |path: &str, rows: &str| {
        let request = other.admin().request(Method::POST, path).header("content-type", "application/x-ndjson");
        Answer::of(request.body(rows.to_owned())).await.expect(200).text
    };
    let report = import("/admin/import", &exported).await;
    assert!(report.contains(r#""username":"ana","outcome":"created""#), "{report}");
    // Django writes more after the exclamation mark. No row takes a password away.
    let rows = r#"{"username": "ben", "password_hash": "!abcdefghijklmnop"}
        {"username": "root", "password_hash": "!"}"#;
    let report = import("/admin/import?on_conflict=update", rows).await;
    assert!(report.contains(r#""username":"ben","outcome":"created""#), "{report}");
    assert!(report.contains(r#""username":"root","outcome":"unchanged""#), "{report}");
    other.admin().get("/admin/users").await.expect(200);
    for name in ["ana", "ben"] {
        other.with(basic(name, "!")).get("/me").await.expect(401);
    }
}
