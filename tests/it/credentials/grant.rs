//! What a caller was let in by is confirmed where the caller acts.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, App, PASSWORD, basic, bearer};

/// A request that was authenticated and whose body has not come yet.
struct HeldOpen(TcpStream);

impl HeldOpen {
    async fn begin(app: &App, path: &str, authorization: &str, kind: &str, length: usize) -> Self {
        let mut stream = TcpStream::connect(&app.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {authorization}\r\n\
             content-type: {kind}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 100 "));
        Self(stream)
    }

    async fn end(mut self, body: &str) -> (u16, String) {
        self.0.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

const TOKEN: &str = r#"{"name": "a", "scopes": ["profile"]}"#;

#[tokio::test]
async fn a_request_opened_with_a_password_does_nothing_once_the_password_was_changed() {
    let app = App::start().await;
    let id = app.create("sergio", &["user", "admin"]).await;
    let mine = basic("sergio", PASSWORD);
    let open = async || HeldOpen::begin(&app, "/me/tokens", &mine, "application/json", TOKEN.len()).await;
    let held = open().await;
    let new = json!({"current_password": PASSWORD, "new_password": "my-next-password"});
    app.with(&mine).post("/me/password", &new).await.expect(204);
    assert_eq!(held.end(TOKEN).await.0, 401);

    let mine = basic("sergio", "my-next-password");
    let held = HeldOpen::begin(&app, "/me/tokens", &mine, "application/json", TOKEN.len()).await;
    let must_change = json!({"password": "my-next-password", "must_change_password": true});
    let path = format!("/admin/users/{id}/password");
    Answer::of(app.admin().request(Method::PUT, &path).json(&must_change)).await.expect(204);
    assert_eq!(held.end(TOKEN).await.0, 401, "the same password is another hash");
    let held = HeldOpen::begin(&app, "/me/password", &mine, "application/json", 80).await;
    let change = r#"{"current_password": "my-next-password", "new_password": "my-last-password"}"#;
    let change = format!("{change}{}", " ".repeat(80 - change.len()));
    assert_eq!(held.end(&change).await.0, 204, "this is what has to be done first");
}

#[tokio::test]
async fn a_jwt_that_expires_while_the_body_is_read_is_refused() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    let held = HeldOpen::begin(&app, "/me/tokens", &jwt, "application/json", TOKEN.len()).await;
    app.advance_clock(Duration::from_secs(1800));
    assert_eq!(held.end(TOKEN).await.0, 401);
}

#[tokio::test]
async fn an_import_that_is_held_open_writes_nothing_once_its_caller_may_not() {
    let app = App::start().await;
    app.create("other", &["user", "admin"]).await;
    let hash = app.database.text("SELECT password_hash FROM users WHERE username = 'other'").await;
    let row = json!({"username": "eve", "password_hash": hash, "roles": ["admin"]}).to_string();
    let others = basic("other", PASSWORD);
    let held = HeldOpen::begin(&app, "/admin/import", &others, "application/x-ndjson", row.len()).await;
    app.database.sql("UPDATE users SET roles = 'user' WHERE username = 'other'").await;
    let (status, answer) = held.end(&row).await;
    assert_eq!(status, 403, "{answer}");
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM users WHERE username = 'eve'").await, "0");
}

/// On PostgreSQL, another server learns of a change within a second. Until then its cache lets the caller in.
#[tokio::test]
async fn who_was_demoted_on_one_server_does_nothing_on_another_body_or_not() {
    let app = App::start().await;
    let id = app.create("other", &["user", "admin"]).await;
    let victim = app.create("victim", &["user"]).await;
    let second = App::on(app.database.clone(), &[]).await;
    let others = basic("other", PASSWORD);
    second.with(&others).get("/admin/users").await.expect(200);
    app.admin().patch(&format!("/admin/users/{id}"), &json!({"roles": ["user"]})).await.expect(200);
    let caller = second.with(&others);
    let user = format!("/admin/users/{victim}");
    caller.send(Method::DELETE, &user).await.expect(403);
    caller.send(Method::DELETE, &format!("{user}/sessions")).await.expect(403);
    caller.send(Method::DELETE, &format!("{user}/tokens")).await.expect(403);
    caller.send(Method::POST, "/admin/keys/rotate").await.expect(403);
    caller.patch(&user, &json!({"name": "changed"})).await.expect(403);
    app.admin().get(&user).await.expect(200);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_the_credential_and_not_to_its_user() {
    let app = App::start().await;
    let all = app.personal_token("root", &json!({"name": "all"})).await;
    let limited = app.personal_token("root", &json!({"name": "limited", "scopes": ["tokens"]})).await;
    let body = json!({"name": "made", "scopes": ["tokens"]});
    let post = async |credential: &str| {
        let request = app.with(credential).request(Method::POST, "/me/tokens").header("idempotency-key", "key");
        Answer::of(request.json(&body)).await.expect(201).json()
    };
    let (first, second) = (post(&all).await, post(&limited).await);
    assert_ne!(first["token"], second["token"]);
    assert_eq!(post(&all).await, first);
    assert_eq!(post(&limited).await, second);
}

#[tokio::test]
async fn a_role_is_not_spoken_of_where_the_credential_lacks_a_scope_that_it_grants() {
    let app = App::start().await;
    app.create("boss", &["user", "admin", "editor"]).await;
    let service = app.personal_token("root", &json!({"name": "service", "scopes": ["introspect"]})).await;
    for (scopes, roles) in [
        (json!(["profile"]), "editor"),
        (json!(["profile", "users:read", "tokens"]), "editor,user"),
        (json!(["profile", "users:read", "tokens", "introspect", "admin"]), "admin,editor,user"),
    ] {
        let token = app.personal_token("boss", &json!({"name": "a", "scopes": scopes})).await;
        assert_eq!(app.with(&token).get("/verify").await.expect(200).header("x-auth-roles"), roles);
        for role in ["admin", "user", "editor"] {
            let expected = if roles.contains(role) { 200 } else { 403 };
            app.with(&token).get(&format!("/verify?role={role}")).await.expect(expected);
        }
        let form = [("token", token.strip_prefix("Bearer ").unwrap())];
        let request = app.with(&service).request(Method::POST, "/oauth/introspect").form(&form);
        let said = Answer::of(request).await.expect(200).json();
        assert_eq!(said["roles"], roles.split(',').collect::<Value>());
    }
    app.with(basic("boss", PASSWORD)).get("/verify?role=admin").await.expect(200);
}

#[tokio::test]
async fn a_token_made_in_a_session_ends_when_a_copy_of_the_sessions_token_shows_up() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let make = async |credential: &str| {
        let made =
            app.with(credential).post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await;
        bearer(made.expect(201).json()["token"].as_str().unwrap())
    };
    let (in_session, by_password) = (make(&opaque).await, make(&basic("root", PASSWORD)).await);
    let child = make(&in_session).await;
    app.with(&opaque).send(Method::POST, "/refresh?rotate=true").await.expect(200);
    app.with(&opaque).get("/me").await.expect(401);
    app.with(&in_session).get("/me").await.expect(401);
    app.with(&child).get("/me").await.expect(401);
    app.with(&by_password).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_personal_token_names_its_scopes_and_expires_unless_told_otherwise() {
    let app = App::start().await;
    let make = async |about: Value| app.admin().post("/me/tokens", &about).await;
    assert_eq!(make(json!({"name": "a"})).await.expect(422).field_errors(), ["scopes:required"]);
    let ends = async |about: Value| make(about).await.expect(201).json()["expires_at"].clone();
    assert_eq!(ends(json!({"name": "a", "scopes": ["profile"]})).await, "2026-04-01T00:00:00.000Z");
    assert_eq!(ends(json!({"name": "a", "scopes": ["profile"], "expires_in": "never"})).await, Value::Null);
    for wrong in [json!(0), json!("ever"), json!(true), json!(3_153_600_001_u64), json!(-1)] {
        let about = json!({"name": "a", "scopes": ["profile"], "expires_in": wrong});
        assert!(make(about).await.expect(422).field_errors()[0].starts_with("expires_in:"), "{wrong}");
    }
    let app = App::start_with(&["--personal-token-ttl", "never"]).await;
    let made = app.admin().post("/me/tokens", &json!({"name": "a", "scopes": ["profile"]})).await.expect(201);
    assert_eq!(made.json()["expires_at"], Value::Null);
}
