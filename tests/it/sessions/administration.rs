//! `/admin/users/{id}/sessions`, `…/tokens`, `/admin/sessions` and `/admin/tokens`.

use reqwest::Method;
use serde_json::json;

use crate::support::{App, PASSWORD, basic, bearer};

#[tokio::test]
async fn an_admin_lists_and_ends_the_sessions_of_anyone() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let (first, _) = app.tokens("sergio").await;
    let (second, jwt) = app.tokens("sergio").await;
    let (roots, _) = app.tokens("root").await;
    let path = format!("/admin/users/{id}/sessions");
    let items = app.with(&roots).get(&path).await.expect(200).json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item["current"] == false));
    let sid = app.with(&first).get("/me").await.json()["session_id"].as_str().unwrap().to_owned();
    app.admin().send(Method::DELETE, &format!("/admin/sessions/{sid}")).await.expect(204);
    app.admin().send(Method::DELETE, &format!("/admin/sessions/{sid}")).await.expect(404);
    app.with(&first).get("/me").await.expect(401);
    app.with(&second).get("/me").await.expect(200);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    for token in [&second, &jwt] {
        app.with(token).get("/me").await.expect(401);
    }
    app.with(&roots).get("/me").await.expect(200);
    assert_eq!(app.admin().get(&path).await.json(), json!({"items": []}));
}

#[tokio::test]
async fn an_admin_lists_and_revokes_the_tokens_of_anyone() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let mut tokens = Vec::new();
    for name in ["a", "b", "c"] {
        let made = app
            .with(basic("sergio", PASSWORD))
            .post("/me/tokens", &json!({"name": name, "scopes": ["profile"]}))
            .await
            .expect(201);
        tokens.push((made.json()["id"].as_str().unwrap().to_owned(), bearer(made.json()["token"].as_str().unwrap())));
    }
    let roots = app.personal_token("root", &json!({"name": "a"})).await;
    let path = format!("/admin/users/{id}/tokens");
    let list = app.admin().get(&path).await.expect(200);
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 3);
    assert!(!list.text.contains("cst_"));
    app.admin().send(Method::DELETE, &format!("/admin/tokens/{}", tokens[0].0)).await.expect(204);
    app.admin().send(Method::DELETE, &format!("/admin/tokens/{}", tokens[0].0)).await.expect(404);
    app.with(&tokens[0].1).get("/me").await.expect(401);
    app.with(&tokens[1].1).get("/me").await.expect(200);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    for (_, token) in &tokens {
        app.with(token).get("/me").await.expect(401);
    }
    app.with(&roots).get("/me").await.expect(200);
}
