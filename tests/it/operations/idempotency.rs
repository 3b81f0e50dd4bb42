//! `Idempotency-Key`: a retried request gets the stored response and changes nothing.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, PASSWORD, basic, bearer};

async fn post(app: &App, credential: &str, path: &str, key: &str, body: &Value) -> Answer {
    let request = app.with(credential).request(Method::POST, path).header("idempotency-key", key);
    Answer::of(request.json(body)).await
}

#[tokio::test]
async fn a_retried_creation_creates_one_user_and_repeats_the_response() {
    let app = App::start().await;
    let root = basic("root", PASSWORD);
    let body = json!({"username": "sergio", "password": PASSWORD, "roles": ["user", "editor"]});
    let first = post(&app, &root, "/admin/users", "a key", &body).await.expect(201);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    app.admin().patch(&format!("/admin/users/{id}"), &json!({"name": "Another"})).await.expect(200);
    let again = post(&app, &root, "/admin/users", "a key", &body).await.expect(201);
    assert_eq!((again.text.as_str(), again.header("etag")), (first.text.as_str(), first.header("etag")));
    assert_eq!(again.header("location"), first.header("location"));
    let other = json!({"username": "other", "password": PASSWORD});
    let refused = post(&app, &root, "/admin/users", "a key", &other).await.expect(422);
    assert_eq!(refused.problem(), "idempotency-key-reused");
    post(&app, &root, "/admin/users", "another key", &other).await.expect(201);
    let made = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'user.created' AND method = 'basic'";
    assert_eq!(app.database.text(made).await, "2");
}

#[tokio::test]
async fn a_retried_token_creation_returns_the_same_token() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (root, sergio) = (basic("root", PASSWORD), basic("sergio", PASSWORD));
    let body = json!({"name": "a", "scopes": ["profile"]});
    let first = post(&app, &root, "/me/tokens", "key", &body).await.expect(201).json();
    let again = post(&app, &root, "/me/tokens", "key", &body).await.expect(201).json();
    assert_eq!(again, first);
    app.with(bearer(first["token"].as_str().unwrap())).get("/me").await.expect(200);
    let others = post(&app, &sergio, "/me/tokens", "key", &body).await.expect(201).json();
    assert_ne!(others["token"], first["token"], "a key belongs to its caller");
    post(&app, &root, "/admin/users", "key", &json!({"username": "x", "password": PASSWORD})).await.expect(201);
    assert_eq!(app.admin().get("/me/tokens").await.json()["items"].as_array().unwrap().len(), 1);
    if crate::support::on_postgres().is_none() {
        let secret = &first["token"].as_str().unwrap()[4..];
        for file in std::fs::read_dir(app.database.folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    app.advance_clock(Duration::from_millis(86_399_999));
    let again = post(&app, &root, "/me/tokens", "key", &body).await.expect(201).json();
    assert_eq!(again, first);
    app.advance_clock(Duration::from_millis(1));
    let later = post(&app, &root, "/me/tokens", "key", &body).await.expect(201).json();
    assert_ne!(later["token"], first["token"], "a key is valid for a day");
    app.advance_clock(Duration::from_secs(86_401));
    app.service.auth().delete_expired().await.unwrap();
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM idempotency_keys").await, "0");
}

#[tokio::test]
async fn refused_requests_are_not_stored() {
    let app = App::start().await;
    let root = basic("root", PASSWORD);
    let body = |name: &str| json!({"username": name, "password": PASSWORD});
    post(&app, &root, "/admin/users", "key", &body("root")).await.expect(409);
    post(&app, &root, "/admin/users", "key", &json!({"username": "x", "password": "short"})).await.expect(422);
    post(&app, &root, "/admin/users", "key", &body("x")).await.expect(201);
    for wrong in ["", &"x".repeat(256), "é"] {
        let answer =
            post(&app, &root, "/me/tokens", wrong, &json!({"name": "a", "scopes": ["profile"]})).await.expect(422);
        assert_eq!(answer.field_errors(), ["Idempotency-Key:malformed"]);
    }
}

#[tokio::test]
async fn concurrent_requests_with_one_key_get_one_response() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let body = json!({"name": "a", "scopes": ["profile"]});
    let at_once = (0..20).map(|_| post(&app, &opaque, "/me/tokens", "key", &body));
    let answers = futures_util::future::join_all(at_once).await;
    let texts: std::collections::HashSet<_> =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| &answer.text).collect();
    assert_eq!(texts.len(), 1);
    assert!(answers.iter().all(|answer| [201, 503].contains(&answer.status.as_u16())));
    assert_eq!(app.admin().get("/me/tokens").await.json()["items"].as_array().unwrap().len(), 1);
}

/// Who can write to the database could otherwise give one caller the answer to another.
#[tokio::test]
async fn a_stored_response_belongs_to_its_key() {
    let app = App::start().await;
    let root = basic("root", PASSWORD);
    let body = json!({"name": "a", "scopes": ["profile"]});
    for key in ["one", "two"] {
        post(&app, &root, "/me/tokens", key, &body).await.expect(201);
    }
    let last = "SELECT sealed FROM idempotency_keys ORDER BY key_hash DESC LIMIT 1";
    app.database.sql(&format!("UPDATE idempotency_keys SET sealed = ({last})")).await;
    let mut statuses = Vec::new();
    for key in ["one", "two"] {
        statuses.push(post(&app, &root, "/me/tokens", key, &body).await.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422], "that of the other key does not open");
}
