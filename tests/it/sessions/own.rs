//! `/me/sessions`, and the lifetime of sessions.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, App, PASSWORD, basic};

const MINUTE: Duration = Duration::from_secs(60);

async fn sessions(app: &App, credential: &str) -> Vec<Value> {
    app.with(credential).get("/me/sessions").await.expect(200).json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_session_list_has_client_details_and_marks_the_current_one() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let login = app.with(basic("sergio", PASSWORD)).request(Method::POST, "/login").header("user-agent", "a phone");
    Answer::of(login).await.expect(200);
    app.advance_clock(MINUTE);
    let (opaque, jwt) = app.tokens("sergio").await;
    for token in [&opaque, &jwt] {
        let items = sessions(&app, token).await;
        assert_eq!(items.len(), 2);
        assert_eq!((&items[0]["current"], &items[1]["current"]), (&true.into(), &false.into()), "the newest first");
        assert_eq!(items[1]["user_agent"], "a phone");
        assert_eq!(items[1]["created_at"], "2026-01-01T00:00:00.000Z");
        assert_eq!(items[1]["expires_at"], "2026-01-31T00:00:00.000Z");
        assert_eq!(items[1]["address"], "127.0.0.1");
        assert_eq!(items[0]["id"], app.with(token).get("/me").await.json()["session_id"]);
    }
    assert!(sessions(&app, &basic("sergio", PASSWORD)).await.iter().all(|item| item["current"] == false));
    assert!(sessions(&app, &basic("root", PASSWORD)).await.is_empty());
}

#[tokio::test]
async fn a_user_ends_one_session_and_its_tokens_are_refused_at_once() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let (other, _) = app.tokens("sergio").await;
    let id = app.with(&opaque).get("/me").await.json()["session_id"].as_str().unwrap().to_owned();
    app.with(&other).send(Method::DELETE, &format!("/me/sessions/{id}")).await.expect(204);
    for token in [&opaque, &jwt] {
        assert_eq!(app.with(token).get("/me").await.expect(401).problem(), "invalid-token");
    }
    assert_eq!(sessions(&app, &other).await.len(), 1);
    let again = app.with(&other).send(Method::DELETE, &format!("/me/sessions/{id}")).await;
    assert_eq!(again.expect(404).problem(), "not-found");
}

#[tokio::test]
async fn a_session_of_another_user_is_not_found_and_continues() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("root").await;
    let id = app.with(&opaque).get("/me").await.json()["session_id"].as_str().unwrap().to_owned();
    let user = app.with(basic("sergio", PASSWORD));
    for id in [id.as_str(), "not-an-id"] {
        user.send(Method::DELETE, &format!("/me/sessions/{id}")).await.expect(404);
    }
    app.with(&opaque).get("/me").await.expect(200);
}

#[tokio::test]
async fn ending_the_other_sessions_keeps_the_current_one_and_none_with_basic() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (roots, _) = app.tokens("root").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(app.tokens("sergio").await);
    }
    let (opaque, jwt) = app.tokens("sergio").await;
    app.with(&jwt).send(Method::DELETE, "/me/sessions").await.expect(204);
    for (opaque, jwt) in &others {
        app.with(opaque).get("/me").await.expect(401);
        app.with(jwt).get("/me").await.expect(401);
    }
    app.with(&opaque).get("/me").await.expect(200);
    app.with(basic("sergio", PASSWORD)).send(Method::DELETE, "/me/sessions").await.expect(204);
    app.with(&opaque).get("/me").await.expect(401);
    app.with(&roots).get("/me").await.expect(200);
}

#[tokio::test]
async fn the_oldest_session_ends_when_the_limit_is_exceeded() {
    let app = App::start_with(&["--sessions-per-user", "3"]).await;
    app.create("sergio", &["user"]).await;
    let (roots, _) = app.tokens("root").await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(app.tokens("sergio").await.0);
        app.advance_clock(Duration::from_millis(2));
    }
    let mut alive = Vec::new();
    for token in &tokens {
        alive.push(app.with(token).get("/me").await.status.as_u16());
    }
    assert_eq!(alive, [401, 401, 200, 200, 200]);
    app.with(&roots).get("/me").await.expect(200);
}

/// A new session may have the earliest time: clocks differ, and can be set back.
#[tokio::test]
async fn a_login_never_ends_its_own_session() {
    let app = App::start_with(&["--sessions-per-user", "1"]).await;
    app.create("sergio", &["user"]).await;
    let mut last = app.tokens("sergio").await.0;
    for turned_back in [0, 0, 0, 10] {
        app.set_clock_back(Duration::from_secs(turned_back));
        let (opaque, jwt) = app.tokens("sergio").await;
        for token in [&opaque, &jwt] {
            app.with(token).get("/me").await.expect(200);
        }
        app.with(&last).get("/me").await.expect(401);
        last = opaque;
    }
}

/// A use that one server saw counts on the other once it is in the database.
#[tokio::test]
async fn servers_on_one_database_share_the_last_use_of_a_session() {
    let one = App::start_with(&["--idle-ttl", "10m"]).await;
    let two = App::on(one.database.clone(), &["--idle-ttl", "10m"]).await;
    let (opaque, _) = one.tokens("root").await;
    two.with(&opaque).get("/me").await.expect(200);
    for app in [&one, &two] {
        app.advance_clock(9 * MINUTE);
    }
    one.with(&opaque).get("/me").await.expect(200);
    one.service.auth().write_activity().await.unwrap();
    for app in [&one, &two] {
        app.advance_clock(9 * MINUTE);
    }
    two.with(&opaque).get("/me").await.expect(200);
    assert_eq!(sessions(&two, &opaque).await[0]["last_seen_at"], "2026-01-01T00:18:00.000Z");
}

#[tokio::test]
async fn last_seen_at_is_visible_at_once_and_written_later() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("sergio").await;
    app.advance_clock(10 * MINUTE);
    app.with(&opaque).get("/me").await.expect(200);
    assert_eq!(sessions(&app, &opaque).await[0]["last_seen_at"], "2026-01-01T00:10:00.000Z");
    let in_database = "SELECT CAST(COALESCE(MAX(last_seen_at), 0) AS TEXT) FROM sessions";
    assert_eq!(app.database.text(in_database).await, "0", "reading writes nothing");
    app.service.auth().write_activity().await.unwrap();
    assert_eq!(app.database.text(in_database).await, "1767226200000");
    assert_eq!(sessions(&app, &opaque).await[0]["last_seen_at"], "2026-01-01T00:10:00.000Z");
    app.advance_clock(MINUTE);
    app.with(&opaque).get("/me").await.expect(200);
    app.service.auth().stop().await;
    assert_eq!(app.database.text(in_database).await, "1767226260000", "uses in memory are written at shutdown");
}

#[tokio::test]
async fn an_idle_session_expires_and_a_used_one_does_not() {
    let app = App::start_with(&["--idle-ttl", "10m", "--jwt-ttl", "1h"]).await;
    app.create("sergio", &["user"]).await;
    let (used, _) = app.tokens("sergio").await;
    let login = app.login("sergio").await;
    assert_eq!(login["expires_in"], 600, "a JWT is valid for at most the idle timeout");
    let idle = format!("Bearer {}", login["opaque_token"].as_str().unwrap());
    for minute in 0..4 {
        app.advance_clock(5 * MINUTE);
        app.with(&used).get("/me").await.expect(200);
        if minute == 2 {
            // Uses in memory and uses in the database count alike.
            app.service.auth().write_activity().await.unwrap();
        }
    }
    assert_eq!(app.with(&idle).get("/me").await.expect(401).problem(), "invalid-token");
    assert_eq!(sessions(&app, &used).await.len(), 1, "it is not listed either");
    app.advance_clock(10 * MINUTE - Duration::from_secs(1));
    app.with(&used).get("/me").await.expect(200);
    app.advance_clock(10 * MINUTE);
    app.with(&used).get("/me").await.expect(401);
}

#[tokio::test]
async fn a_session_in_constant_use_still_reaches_its_absolute_expiry() {
    let app = App::start_with(&["--idle-ttl", "2h", "--token-ttl", "3h"]).await;
    let (opaque, _) = app.tokens("root").await;
    for _ in 0..2 {
        app.advance_clock(60 * MINUTE);
        app.with(&opaque).get("/me").await.expect(200);
    }
    app.advance_clock(60 * MINUTE);
    app.with(&opaque).get("/me").await.expect(401);
}
