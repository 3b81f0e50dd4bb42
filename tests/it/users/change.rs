//! `/admin/users/{id}` and `/me`: changing, disabling and deleting users.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, PASSWORD, basic, claims_of};

const OTHER: &str = "another-password";

/// The tokens of a user, one of each kind.
struct Tokens {
    opaque: String,
    jwt: String,
    personal: String,
}

impl Tokens {
    async fn of(app: &App, username: &str) -> Self {
        let (opaque, jwt) = app.tokens(username).await;
        Self { opaque, jwt, personal: app.personal_token(username, &json!({"name": "a"})).await }
    }

    async fn statuses(&self, app: &App) -> [u16; 3] {
        let mut statuses = [0; 3];
        for (status, token) in statuses.iter_mut().zip([&self.opaque, &self.jwt, &self.personal]) {
            *status = app.with(token).get("/me").await.status.as_u16();
        }
        statuses
    }
}

/// Whether the status list says that this JWT is revoked.
async fn is_revoked(app: &App, jwt: &str) -> bool {
    let place = claims_of(&jwt["Bearer ".len()..])["status"]["status_list"].clone();
    let path = place["uri"].as_str().unwrap().strip_prefix("http://localhost:5000").unwrap().to_owned();
    let list = claims_of(&app.anon().get(&path).await.expect(200).text);
    let packed = URL_SAFE_NO_PAD.decode(list["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bits = Vec::new();
    flate2::read::ZlibDecoder::new(&*packed).read_to_end(&mut bits).unwrap();
    let idx = usize::try_from(place["idx"].as_u64().unwrap()).unwrap();
    bits[idx / 8] >> (idx % 8) & 1 == 1
}

async fn change(app: &App, id: &str, body: &Value) -> Answer {
    app.admin().patch(&format!("/admin/users/{id}"), body).await
}

#[tokio::test]
async fn a_patch_changes_only_the_given_fields() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let body = json!({"name": "Sergio", "email": "s@example.com", "roles": ["user", "editor"]});
    let user = change(&app, &id, &body).await.expect(200).json();
    assert_eq!((&user["name"], &user["email"]), (&json!("Sergio"), &json!("s@example.com")));
    assert_eq!(user["roles"], json!(["editor", "user"]));
    let user = change(&app, &id, &json!({"email": null})).await.expect(200).json();
    assert_eq!((&user["name"], &user["email"]), (&json!("Sergio"), &Value::Null));
    let user = change(&app, &id, &json!({"name": null})).await.expect(200).json();
    assert_eq!((&user["name"], &user["roles"]), (&json!("sergio"), &json!(["editor", "user"])));
    assert_eq!(app.admin().get(&format!("/admin/users/{id}")).await.json(), user);
    for (body, error) in [
        (json!({"name": ""}), "name:required"),
        (json!({"email": "canary"}), "email:malformed"),
        (json!({"roles": ["Canary"]}), "roles:malformed"),
        (json!({"status": "canary"}), "status:malformed"),
        (json!({"username": "canary"}), "username:unknown"),
        (json!({"password": "canary"}), "password:unknown"),
    ] {
        let answer = change(&app, &id, &body).await.expect(422);
        assert_eq!(answer.field_errors(), [error], "{body}");
        assert!(!answer.text.contains("canary") && !answer.text.contains("Canary"));
    }
    change(&app, "01a209a4-5175-7d1f-96a9-8817ee5490a8", &json!({})).await.expect(404);
}

#[tokio::test]
async fn if_match_guards_against_lost_updates() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let path = format!("/admin/users/{id}");
    let first = app.admin().get(&path).await.header("etag").to_owned();
    let patch = async |tag: &str, name: &str| {
        let request = app.admin().request(Method::PATCH, &path).header("if-match", tag);
        Answer::of(request.json(&json!({"name": name}))).await
    };
    let second = patch(&first, "one").await.expect(200).header("etag").to_owned();
    assert_ne!(first, second, "the tag changes even within one millisecond");
    for stale in [first.clone(), format!("W/{second}"), "\"nonsense\"".into(), "nonsense".into()] {
        assert_eq!(patch(&stale, "two").await.expect(412).problem(), "precondition-failed", "{stale}");
    }
    let gone = app.admin().request(Method::DELETE, &path).header("if-match", &first);
    Answer::of(gone).await.expect(412);
    patch("*", "three").await.expect(200);
    let third = app.admin().get(&path).await.header("etag").to_owned();
    patch(&format!("{first}, {third}"), "four").await.expect(200);
    app.login("sergio").await;
    let fourth = app.admin().get(&path).await;
    assert_eq!(fourth.json()["name"], "four");
    patch(fourth.header("etag"), "five").await.expect(200);
}

#[tokio::test]
async fn disabling_ends_every_credential_at_once_and_enabling_revives_none() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let held = Tokens::of(&app, "sergio").await;
    assert_eq!(held.statuses(&app).await, [200; 3]);
    change(&app, &id, &json!({"status": "disabled"})).await.expect(200);
    assert_eq!(held.statuses(&app).await, [401; 3]);
    assert!(is_revoked(&app, &held.jwt).await);
    let login = json!({"username": "sergio", "password": PASSWORD});
    assert_eq!(app.anon().post("/login", &login).await.expect(401).problem(), "invalid-credentials");
    change(&app, &id, &json!({"status": "active"})).await.expect(200);
    assert_eq!(held.statuses(&app).await, [401; 3]);
    assert!(is_revoked(&app, &held.jwt).await);
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_change_of_roles_applies_from_the_next_request_on() {
    let app = App::start().await;
    let id = app.create("other", &["user", "admin"]).await;
    let held = Tokens::of(&app, "other").await;
    app.with(&held.jwt).get("/admin/users").await.expect(200);
    change(&app, &id, &json!({"roles": ["user"]})).await.expect(200);
    for token in [&held.opaque, &held.jwt, &held.personal, &basic("other", PASSWORD)] {
        app.with(token).get("/admin/users").await.expect(403);
    }
    change(&app, &id, &json!({"roles": ["user", "admin"]})).await.expect(200);
    app.with(&held.jwt).get("/admin/users").await.expect(200);
}

#[tokio::test]
async fn deleting_a_user_ends_every_credential_and_frees_the_name() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let held = Tokens::of(&app, "sergio").await;
    let path = format!("/admin/users/{id}");
    app.admin().send(Method::DELETE, &path).await.expect(204);
    assert_eq!(held.statuses(&app).await, [401; 3]);
    assert!(is_revoked(&app, &held.jwt).await, "offline verification learns of it too");
    app.admin().get(&path).await.expect(404);
    app.admin().send(Method::DELETE, &path).await.expect(404);
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(401);
    let again = app.create("sergio", &["user"]).await;
    assert_ne!(again, id);
    assert_eq!(held.statuses(&app).await, [401; 3]);
}

#[tokio::test]
async fn the_last_active_admin_cannot_be_removed() {
    let app = App::start().await;
    let root = app.admin().get("/me").await.json()["user"]["id"].as_str().unwrap().to_owned();
    let other = app.create("other", &["admin"]).await;
    app.disable("other").await;
    let path = format!("/admin/users/{root}");
    for body in [json!({"status": "disabled"}), json!({"roles": ["user"]}), json!({"roles": []})] {
        assert_eq!(change(&app, &root, &body).await.expect(409).problem(), "last-admin", "{body}");
    }
    assert_eq!(app.admin().send(Method::DELETE, &path).await.expect(409).problem(), "last-admin");
    change(&app, &root, &json!({"name": "Root", "roles": ["admin"]})).await.expect(200);
    change(&app, &other, &json!({"status": "active"})).await.expect(200);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    app.with(basic("other", PASSWORD)).get("/admin/users").await.expect(200);
}

#[tokio::test]
async fn of_admins_who_remove_each_other_concurrently_one_remains() {
    let app = App::start().await;
    for round in 0..8 {
        let names = [format!("a{round}"), format!("b{round}")];
        let mut ids = Vec::new();
        for name in &names {
            ids.push(app.create(name, &["admin"]).await);
        }
        // Only these two admins are active.
        app.database.sql(&format!("UPDATE users SET status = 'disabled' WHERE username NOT LIKE '_{round}'")).await;
        let (a, b) = (app.with(basic(&names[0], PASSWORD)), app.with(basic(&names[1], PASSWORD)));
        let (path_a, path_b) = (format!("/admin/users/{}", ids[0]), format!("/admin/users/{}", ids[1]));
        let demote = json!({"roles": ["user"]});
        let (first, second) = if round % 2 == 0 {
            tokio::join!(a.send(Method::DELETE, &path_b), b.send(Method::DELETE, &path_a))
        } else {
            tokio::join!(a.patch(&path_b, &demote), b.patch(&path_a, &demote))
        };
        let done = [&first, &second].iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{first:?} {second:?}");
        let left = "SELECT CAST(COUNT(*) AS TEXT) FROM users WHERE status = 'active' AND roles LIKE '%admin%'";
        assert_ne!(app.database.text(left).await, "0");
    }
}

#[tokio::test]
async fn a_password_set_by_an_admin_ends_earlier_credentials() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let held = Tokens::of(&app, "sergio").await;
    let path = format!("/admin/users/{id}/password");
    let put = async |body: Value| Answer::of(app.admin().request(Method::PUT, &path).json(&body)).await;
    assert_eq!(put(json!({"password": "short"})).await.expect(422).field_errors(), ["password:too-short"]);
    assert_eq!(held.statuses(&app).await, [200; 3]);
    put(json!({"password": OTHER})).await.expect(204);
    assert_eq!(held.statuses(&app).await, [401; 3]);
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(401);
    app.with(basic("sergio", OTHER)).get("/me").await.expect(200);
    let nobody = "/admin/users/01a209a4-5175-7d1f-96a9-8817ee5490a8/password";
    let nobody = app.admin().request(Method::PUT, nobody).json(&json!({"password": OTHER}));
    Answer::of(nobody).await.expect(404);
}

#[tokio::test]
async fn a_user_who_must_change_the_password_can_do_nothing_else() {
    let app = App::start().await;
    let body = json!({"username": "sergio", "password": PASSWORD, "must_change_password": true});
    let made = app.admin().post("/admin/users", &body).await.expect(201).json();
    assert_eq!(made["must_change_password"], true);
    let login = json!({"username": "sergio", "password": PASSWORD});
    let user = app.with(basic("sergio", PASSWORD));
    assert_eq!(app.anon().post("/login", &login).await.expect(403).problem(), "password-change-required");
    app.anon().post("/login", &json!({"username": "sergio", "password": "wrong-password"})).await.expect(401);
    for path in ["/me", "/users", "/verify", "/me/sessions"] {
        assert_eq!(user.get(path).await.expect(403).problem(), "password-change-required", "{path}");
    }
    user.post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await.expect(403);
    let value = &basic("sergio", PASSWORD)["Basic ".len()..];
    let asked = app.admin().request(Method::POST, "/oauth/introspect").form(&[("token", value)]);
    assert_eq!(Answer::of(asked).await.expect(200).text, r#"{"active":false}"#);

    let body = |new: &str| json!({"current_password": PASSWORD, "new_password": new});
    let same = user.post("/me/password", &body(PASSWORD)).await.expect(422);
    assert_eq!(same.field_errors(), ["new_password:unchanged"]);
    user.post("/me/password", &body(OTHER)).await.expect(204);
    app.with(basic("sergio", OTHER)).get("/me").await.expect(200);
    app.anon().post("/login", &json!({"username": "sergio", "password": OTHER})).await.expect(200);
}

#[tokio::test]
async fn changing_ones_password_needs_the_current_one_and_ends_other_credentials() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (held, others) = (Tokens::of(&app, "sergio").await, Tokens::of(&app, "sergio").await);
    let body = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let wrong = app.with(&held.jwt).post("/me/password", &body("wrong-password", OTHER)).await.expect(401);
    assert_eq!(wrong.problem(), "invalid-credentials");
    let short = app.with(&held.jwt).post("/me/password", &body(PASSWORD, "short")).await.expect(422);
    assert_eq!(short.field_errors(), ["new_password:too-short"]);
    assert_eq!(others.statuses(&app).await, [200; 3]);
    app.with(&held.jwt).post("/me/password", &body(PASSWORD, OTHER)).await.expect(204);
    assert_eq!(held.statuses(&app).await, [200, 200, 401], "the session that changed it continues");
    assert_eq!(others.statuses(&app).await, [401; 3]);
    assert!(is_revoked(&app, &others.jwt).await && !is_revoked(&app, &held.jwt).await);
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(401);
    app.with(basic("sergio", OTHER)).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_user_changes_name_and_email_and_nothing_else() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    let (_, jwt) = app.tokens("sergio").await;
    let body = json!({"name": "Sergio R.", "email": "s@example.com"});
    let me = app.with(&jwt).patch("/me", &body).await.expect(200).json();
    assert_eq!((&me["name"], &me["email"]), (&json!("Sergio R."), &json!("s@example.com")));
    assert_eq!(user.get("/me").await.json()["user"], me);
    for field in ["roles", "status", "username", "id", "must_change_password"] {
        let answer = user.patch("/me", &json!({field: ["admin"]})).await.expect(422);
        assert_eq!(answer.field_errors(), [format!("{field}:unknown")]);
    }
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(user.get("/users").await.json().as_array().unwrap().len(), 2);
}
