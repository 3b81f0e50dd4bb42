//! Getting back in by mail.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Sink, create_ana, deliver, link_in, reset, token_in};
use crate::support::{Answer, App, PASSWORD, basic, bearer};

const NEW: &str = "a-password-of-my-choice";

async fn forgot(app: &App, login: &str) -> Answer {
    app.anon().post("/password/forgot", &json!({"login": login})).await
}

#[tokio::test]
async fn an_invited_user_gets_in_and_after_forgetting_the_password_back_in_by_mail_alone() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    let body =
        json!({"username": "ana", "name": "Ana M.", "email": "ana@example.com", "invite": true, "deliver": true});
    let created = app.admin().post("/admin/users", &body).await.expect(201).json();
    assert_eq!((created.get("url"), &created["email_verified"]), (None, &json!(false)));
    sink.expect_none();
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!((&mail["to"], &mail["from"]), (&json!(["ana@example.com"]), &json!("auth@example.com")));
    assert_eq!(mail["subject"], "Your account at Acmé & Co");
    app.anon().get(&link_in(&mail)).await.expect(200);
    reset(&app, &token_in(&mail), PASSWORD).await.expect(204);
    let ana = app.with(basic("ana", PASSWORD));
    assert_eq!(ana.get("/me").await.expect(200).json()["user"]["email_verified"], true, "the link came by mail");

    let (opaque, _) = app.tokens("ana").await;
    for login in ["Ana", "ANA@example.com"] {
        forgot(&app, login).await.expect(202);
        deliver(&app).await;
        let mail = sink.next();
        assert_eq!(mail["subject"], "Choose a new password for Acmé & Co");
        reset(&app, &token_in(&mail), &format!("{NEW} {login}")).await.expect(204);
        deliver(&app).await;
        let told = sink.next();
        assert_eq!(told["subject"], "Your password at Acmé & Co was changed");
        assert!(told["text"].as_str().unwrap().contains("2026-01-01 00:00 UTC, from the address 127.0.0.1"), "{told}");
        app.with(basic("ana@example.com", &format!("{NEW} {login}"))).get("/me").await.expect(200);
    }
    app.with(&opaque).get("/me").await.expect(401);
    sink.expect_none();
}

#[tokio::test]
async fn the_answer_to_whoever_forgot_a_password_is_one_and_mail_goes_to_verified_addresses_alone() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    let body = json!({"username": "ben", "password": PASSWORD, "email": "ben@example.com"});
    app.admin().post("/admin/users", &body).await.expect(201);
    app.create("cid", &["user"]).await;
    let fields = |answer: Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (answer.status, headers, answer.text)
    };
    let known = fields(forgot(&app, "ana").await.expect(202));
    assert_eq!(known.2, "");
    let long = "x".repeat(60_000);
    for unknown in ["nobody", "nobody@example.com", "ben", "ben@example.com", "cid", "", "a:b", "\0", "💥", &long] {
        app.advance_clock(Duration::from_secs(60));
        assert_eq!(fields(forgot(&app, unknown).await), known, "{unknown}");
    }
    app.disable("ana").await;
    assert_eq!(fields(forgot(&app, "ana").await), known);
    deliver(&app).await;
    sink.expect_none();
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM outbox").await, "0");
}

#[tokio::test]
async fn a_stranger_cannot_replace_the_link_that_its_owner_was_sent() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    forgot(&app, "ana").await.expect(202);
    deliver(&app).await;
    let token = token_in(&sink.next());
    for _ in 0..5 {
        forgot(&app, "ana@example.com").await.expect(202);
    }
    deliver(&app).await;
    sink.expect_none();
    app.advance_clock(Duration::from_secs(600));
    app.anon().get(&format!("/link/{token}")).await.expect(200);
    forgot(&app, "ana").await.expect(202);
    deliver(&app).await;
    let newer = token_in(&sink.next());
    app.anon().get(&format!("/link/{token}")).await.expect(410);
    reset(&app, &newer, NEW).await.expect(204);
}

#[tokio::test]
async fn a_stranger_cannot_end_an_invitation_by_asking_for_a_way_back_in() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    let id = app.with(basic("ana", PASSWORD)).get("/me").await.json()["user"]["id"].clone();
    let path = format!("/admin/users/{}/link", id.as_str().unwrap());
    let made = app.admin().post(&path, &json!({"purpose": "invitation"})).await.expect(201).json();
    forgot(&app, "ana").await.expect(202);
    deliver(&app).await;
    sink.next();
    let token = made["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    reset(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn requests_for_mail_are_limited_by_address() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--trusted-proxies", "127.0.0.1"]).await;
    let from = async |address: &str| {
        let request = app.anon().request(Method::POST, "/password/forgot").header("x-forwarded-for", address);
        Answer::of(request.json(&json!({"login": "nobody"}))).await
    };
    for _ in 0..10 {
        from("198.51.100.66").await.expect(202);
    }
    let refused = from("198.51.100.66").await.expect(429);
    assert_eq!((refused.problem().as_str(), refused.header("retry-after")), ("too-many-attempts", "60"));
    from("203.0.113.7").await.expect(202);
    app.advance_clock(Duration::from_secs(60));
    from("198.51.100.66").await.expect(202);
    from("198.51.100.66").await.expect(429);
}

#[tokio::test]
async fn without_a_mail_server_what_needs_mail_is_503_and_links_work() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let ana = app.with(basic("ana", PASSWORD));
    let email = json!({"email": "ana@example.com"});
    let invite = json!({"username": "ben", "email": "ben@example.com", "invite": true, "deliver": true});
    let mine = json!({"email": "ana@example.com", "current_password": PASSWORD});
    for answer in
        [forgot(&app, "ana").await, ana.post("/me/email", &mine).await, app.admin().post("/admin/users", &invite).await]
    {
        assert_eq!(answer.expect(503).problem(), "mail-unavailable");
    }
    ana.patch("/me", &email).await.expect(200);
    let body = json!({"purpose": "password-reset", "deliver": true});
    let refused = app.admin().post(&format!("/admin/users/{id}/link"), &body).await.expect(503);
    assert_eq!(refused.problem(), "mail-unavailable");
    let metadata = app.anon().get("/.well-known/oauth-authorization-server").await.expect(200).json();
    assert_eq!((&metadata["mail_available"], &metadata["registration_open"]), (&json!(false), &json!(false)));
    assert_eq!(app.anon().post("/register", &email).await.expect(403).problem(), "registration-closed");
}

#[tokio::test]
async fn a_link_is_delivered_only_to_a_user_with_an_address() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    let id = app.create("ana", &["user"]).await;
    let body = json!({"purpose": "password-reset", "deliver": true});
    let path = format!("/admin/users/{id}/link");
    assert_eq!(app.admin().post(&path, &body).await.expect(422).field_errors(), ["deliver:no-address"]);
    let invite = json!({"username": "ben", "invite": true, "deliver": true});
    assert_eq!(app.admin().post("/admin/users", &invite).await.expect(422).field_errors(), ["email:required"]);
    app.admin().patch(&format!("/admin/users/{id}"), &json!({"email": "ana@example.com"})).await.expect(200);
    let sent = app.admin().post(&path, &body).await.expect(201).json();
    assert!(sent.get("url").is_none() && sent["expires_at"].is_string(), "{sent}");
    deliver(&app).await;
    reset(&app, &token_in(&sink.next()), NEW).await.expect(204);
}

#[tokio::test]
async fn owners_are_told_what_happens_to_their_account() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--trusted-proxies", "127.0.0.1"]).await;
    create_ana(&app, "ana@example.com").await;
    let id = app.with(basic("ana", PASSWORD)).get("/me").await.expect(200).json()["user"]["id"].clone();
    let next = async || -> Value {
        deliver(&app).await;
        sink.next()
    };
    let ana = app.with(basic("ana", PASSWORD));
    ana.post("/me/tokens", &json!({"name": "my script", "scopes": []})).await.expect(201);
    let mail = next().await;
    app.service.auth().write_known_networks().await.unwrap();
    assert_eq!(mail["subject"], "A new access token at Acmé & Co");
    assert!(mail["text"].as_str().unwrap().contains("\"my script\""), "{mail}");

    // Only the second network of a user is news.
    let network = async |address: &str| {
        let login = app.anon().request(Method::POST, "/login").header("x-forwarded-for", address);
        Answer::of(login.json(&json!({"username": "ana", "password": PASSWORD}))).await.expect(200);
        app.service.auth().write_known_networks().await.unwrap();
        deliver(&app).await;
    };
    network("203.0.113.7").await;
    let mail = next().await;
    assert_eq!(mail["subject"], "A login at Acmé & Co from a new address");
    assert!(mail["text"].as_str().unwrap().contains("from 203.0.113.7, where"), "{mail}");
    network("203.0.113.7").await;
    sink.expect_none();

    let change = json!({"current_password": PASSWORD, "new_password": NEW});
    ana.post("/me/password", &change).await.expect(204);
    assert_eq!(next().await["subject"], "Your password at Acmé & Co was changed");
    let path = format!("/admin/users/{}", id.as_str().unwrap());
    let set = app.admin().request(Method::PUT, &format!("{path}/password")).json(&json!({"password": PASSWORD}));
    Answer::of(set).await.expect(204);
    assert!(next().await["text"].as_str().unwrap().contains("UTC, by an administrator."));
    app.admin().patch(&path, &json!({"email": "new@example.com"})).await.expect(200);
    let mail = next().await;
    assert_eq!(
        (&mail["to"], &mail["subject"]),
        (&json!(["ana@example.com"]), &json!("Your address at Acmé & Co was changed"))
    );
    // The new address is not verified, so nobody is told there.
    app.with(basic("ana", PASSWORD)).post("/me/tokens", &json!({"name": "x", "scopes": []})).await.expect(201);
    deliver(&app).await;
    sink.expect_none();
}

#[tokio::test]
async fn notices_can_be_off() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--mail-notices", "off"]).await;
    create_ana(&app, "ana@example.com").await;
    let (opaque, _) = app.tokens("ana").await;
    app.with(bearer(opaque.strip_prefix("Bearer ").unwrap()))
        .post("/me/tokens", &json!({"name": "x", "scopes": []}))
        .await
        .expect(201);
    deliver(&app).await;
    sink.expect_none();
}
