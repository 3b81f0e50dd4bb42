//! What a page of another site makes a browser send has no effect.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{Answer, App, PASSWORD, basic};

async fn status(request: RequestBuilder) -> u16 {
    Answer::of(request).await.status.as_u16()
}

#[tokio::test]
async fn a_password_that_a_foreign_page_makes_the_browser_send_does_nothing() {
    let app = App::start().await;
    let victim = app.create("victim", &["user"]).await;
    let password = basic("root", PASSWORD);
    let (opaque, _) = app.tokens("root").await;
    let user = json!({"username": "eve", "password": PASSWORD});
    let requests = |credential: &str| {
        let caller = app.with(credential);
        [
            caller.request(Method::POST, "/admin/users").json(&user),
            caller.request(Method::DELETE, &format!("/admin/users/{victim}/sessions")),
            caller.request(Method::POST, "/admin/import").header("content-type", "text/csv").body("username\n"),
            caller.request(Method::GET, "/admin/export"),
            caller.request(Method::PATCH, "/me").json(&json!({"name": "Eve"})),
        ]
    };
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        for request in requests(&password) {
            let answer = Answer::of(request.header(name, value)).await.expect(403);
            assert_eq!(answer.problem(), "foreign-page");
        }
        assert_eq!(status(app.with(&password).request(Method::POST, "/login").header(name, value)).await, 403);
        // Reading is harmless: the page does not see the answer. And a browser sends no bearer by itself.
        assert_eq!(status(app.with(&password).request(Method::GET, "/me").header(name, value)).await, 200);
        let by_token = app.with(&opaque).request(Method::PATCH, "/me").json(&json!({"name": "Root"}));
        assert_eq!(status(by_token.header(name, value)).await, 200);
    }
    let own = app.with(&password).request(Method::PATCH, "/me").json(&json!({"name": "Root"}));
    assert_eq!(status(own.header("sec-fetch-site", "same-origin")).await, 200);
}
