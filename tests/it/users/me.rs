//! `/me`: the caller.

use serde_json::json;

use crate::support::{App, PASSWORD, basic};

#[tokio::test]
async fn me_returns_the_user_and_the_method_of_authentication() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let basic = basic("sergio", PASSWORD);
    for (credential, method, expires_at) in [
        (basic, "basic", json!(null)),
        (opaque, "opaque", json!("2026-01-31T00:00:00.000Z")),
        (jwt, "jwt", json!("2026-01-01T00:30:00.000Z")),
    ] {
        let me = app.with(credential).get("/me").await.expect(200).json();
        assert_eq!((me["method"].as_str().unwrap(), &me["expires_at"]), (method, &expires_at));
        assert_eq!(me["session_id"].is_null(), method == "basic");
        assert_eq!(me["scopes"], json!(["profile", "users:read", "tokens"]));
        assert_eq!((&me["user"]["id"], &me["user"]["roles"]), (&json!(id), &json!(["user"])));
    }
}

#[tokio::test]
async fn a_user_without_the_scope_gets_403() {
    let app = App::start().await;
    app.create("guest", &["guest"]).await;
    let guest = app.with(basic("guest", PASSWORD));
    for (path, scope) in [("/me", "profile"), ("/users", "users:read")] {
        let answer = guest.get(path).await.expect(403);
        assert_eq!(answer.problem(), "insufficient-scope");
        assert!(answer.challenges()[0].ends_with(&format!(r#"scope="{scope}""#)), "{answer:?}");
    }
}
