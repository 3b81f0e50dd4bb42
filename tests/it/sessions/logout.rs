//! `/logout`: ending the current session.

use reqwest::Method;

use crate::support::{App, PASSWORD, basic};

#[tokio::test]
async fn logout_with_either_token_ends_both_at_once() {
    let app = App::start().await;
    for with_jwt in [false, true] {
        let (opaque, jwt) = app.tokens("root").await;
        let (other_opaque, other_jwt) = app.tokens("root").await;
        let used = if with_jwt { &jwt } else { &opaque };
        assert_eq!(app.with(used).send(Method::POST, "/logout").await.expect(204).text, "");
        for token in [&opaque, &jwt] {
            assert_eq!(app.with(token).get("/me").await.expect(401).problem(), "invalid-token");
            assert_eq!(app.with(token).send(Method::POST, "/logout").await.expect(401).problem(), "invalid-token");
        }
        for token in [other_opaque, other_jwt] {
            app.with(token).get("/me").await.expect(200);
        }
    }
}

#[tokio::test]
async fn basic_has_no_session_to_end() {
    let app = App::start().await;
    let answer = app.with(basic("root", PASSWORD)).send(Method::POST, "/logout").await.expect(409);
    assert_eq!(answer.problem(), "no-session");
}
