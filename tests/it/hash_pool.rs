//! Logins in a storm: as many hashes at a time as there are threads, as many waiting as the queue holds, and for whoever
//! comes after that, an answer at once.

use serde_json::json;

use crate::support::{App, PASSWORD, basic};

#[tokio::test]
async fn a_full_queue_is_answered_with_503_and_when_to_come_back_and_tokens_go_on() {
    // One thread and one place, each hash some tens of milliseconds.
    let app = App::start_with(&["--hash-workers", "1", "--hash-queue", "1", "--argon2-memory-kib", "19456"]).await;
    let (opaque, jwt) = app.tokens("root").await;
    let anon = app.anon();
    let with_basic = app.with(basic("root", PASSWORD));
    let logins = (0..20).map(|i| {
        let (anon, with_basic) = (&anon, &with_basic);
        async move {
            match i % 3 {
                0 => anon.post("/login", &json!({"username": "root", "password": PASSWORD})).await,
                1 => anon.post("/login", &json!({"username": "nobody", "password": PASSWORD})).await,
                _ => with_basic.get("/me").await,
            }
        }
    });
    let checks = async {
        for token in [&opaque, &jwt].into_iter().cycle().take(20) {
            app.with(token).get("/me").await.expect(200);
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(logins), checks);
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!busy.is_empty() && busy.len() < 20, "{} of 20 were turned away", busy.len());
    for answer in busy {
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("busy", "1"));
    }
    assert!(answers.iter().all(|answer| [200, 401, 503].contains(&answer.status.as_u16())));
    app.login("root").await;
}
