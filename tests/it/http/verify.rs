//! `/verify`: forward authentication for proxies.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App, PASSWORD, basic};

const IDENTITY: [&str; 5] = ["x-auth-user", "x-auth-user-id", "x-auth-roles", "x-auth-scopes", "x-auth-method"];

#[tokio::test]
async fn all_four_credentials_return_the_identity_headers() {
    let app = App::start().await;
    let id = app.create("sergio", &["user", "editor"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let personal = app.personal_token("sergio", &json!({"name": "a", "scopes": ["profile"]})).await;
    let all = "profile users:read tokens";
    for (credential, method, scopes, roles) in [
        (basic("sergio", PASSWORD), "basic", all, "editor,user"),
        (opaque, "opaque", all, "editor,user"),
        (jwt, "jwt", all, "editor,user"),
        (personal, "personal", "profile", "editor"),
    ] {
        let answer = app.with(credential).get("/verify").await.expect(200);
        let said: Vec<_> = IDENTITY.iter().map(|name| answer.header(name)).collect();
        assert_eq!(said, ["sergio", &id, roles, scopes, method]);
        assert_eq!((answer.text.as_str(), answer.header("cache-control")), ("", "no-store"));
    }
}

#[tokio::test]
async fn every_identity_header_is_set_even_if_empty_and_none_is_echoed() {
    let app = App::start().await;
    app.create("zoë", &[]).await;
    let request = IDENTITY
        .iter()
        .chain(&["remote-user", "x-forwarded-user", "x_auth_user"])
        .fold(app.with(basic("zoë", PASSWORD)).request(Method::GET, "/verify"), |r, name| r.header(*name, "root"));
    let answer = Answer::of(request).await.expect(200);
    assert_eq!(answer.headers["x-auth-user"].as_bytes(), "zoë".as_bytes());
    for name in ["x-auth-roles", "x-auth-scopes"] {
        assert_eq!(answer.headers[name], "", "{name}");
    }
    for name in IDENTITY {
        assert_eq!(answer.headers.get_all(name).iter().count(), 1);
    }
    assert!(answer.headers.values().all(|value| value != "root"));
}

#[tokio::test]
async fn required_roles_and_scopes_are_enforced() {
    let app = App::start().await;
    app.create("sergio", &["user", "editor"]).await;
    let user = app.with(basic("sergio", PASSWORD));
    for met in
        ["role=editor", "role=editor&role=user", "scope=profile", "scope=profile+tokens", "role=user&scope=tokens"]
    {
        user.get(&format!("/verify?{met}")).await.expect(200);
    }
    for unmet in ["role=admin", "role=editor&role=admin", "role=", "role=Editor", "role=editor,user"] {
        let answer = user.get(&format!("/verify?{unmet}")).await.expect(403);
        assert_eq!((answer.problem().as_str(), answer.header("x-auth-user")), ("insufficient-role", ""), "{unmet}");
    }
    for unmet in ["scope=admin", "scope=profile&scope=admin", "role=editor&scope=admin"] {
        let answer = user.get(&format!("/verify?{unmet}")).await.expect(403);
        assert_eq!(answer.problem(), "insufficient-scope");
        assert_eq!(answer.challenges(), [r#"Bearer realm="countersign", error="insufficient_scope", scope="admin""#]);
    }
    for misspelt in ["roles=admin", "scope=everything", "scope=", "rd=%2F"] {
        assert_eq!(user.get(&format!("/verify?{misspelt}")).await.expect(422).problem(), "validation", "{misspelt}");
    }
}

#[tokio::test]
async fn without_a_credential_it_is_401_and_a_script_gets_no_basic_challenge() {
    let app = App::start().await;
    assert_eq!(app.anon().get("/verify?role=admin").await.expect(401).challenges().len(), 2);
    let script = app.anon().request(Method::GET, "/verify").header("sec-fetch-mode", "cors");
    assert_eq!(Answer::of(script).await.expect(401).challenges(), [r#"Bearer realm="countersign""#]);
}

#[tokio::test]
async fn when_the_database_fails_verify_refuses() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    app.database.sql("ALTER TABLE users RENAME TO away").await;
    for credential in [opaque, jwt, basic("root", PASSWORD)] {
        let answer = app.with(credential).get("/verify").await.expect(500);
        assert_eq!(answer.header("x-auth-user"), "");
    }
}

#[tokio::test]
async fn verify_does_not_wait_for_a_body() {
    let app = App::start().await;
    let request = app.admin().request(Method::POST, "/verify").body(vec![b'x'; 200_000]);
    Answer::of(request).await.expect(200);
}
