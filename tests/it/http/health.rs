//! `/health` and `/ready`: liveness and readiness.

use crate::support::App;

#[tokio::test]
async fn health_reports_the_process_and_ready_the_database() {
    let app = App::start().await;
    for path in ["/health", "/ready"] {
        assert_eq!(app.anon().get(path).await.expect(200).text, r#"{"status":"ok"}"#);
    }
}

#[tokio::test]
async fn without_its_database_the_service_is_not_ready_and_answers_503() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    app.service.auth().stop().await;
    assert_eq!(app.anon().get("/health").await.expect(200).text, r#"{"status":"ok"}"#);
    let answer = app.anon().get("/ready").await.expect(503);
    assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("unavailable", "1"));
    for credential in [opaque, jwt, crate::support::basic("root", "x")] {
        let answer = app.with(credential).get("/me").await.expect(503);
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("unavailable", "1"));
        assert!(answer.challenges().is_empty());
    }
}
