//! The hash pool under load: one hash per thread at a time, a bounded queue, and an immediate 503 when the queue is
//! full.

use serde_json::json;

use crate::support::{Answer, App, PASSWORD, basic};

#[tokio::test]
async fn a_full_hash_queue_returns_503_with_retry_after_and_tokens_still_work() {
    // One thread, a queue of one, and hashes that take longer than it takes all to arrive, also on a busy machine.
    let one_at_a_time = ["--hash-workers", "1", "--hash-queue", "1"];
    let slow = ["--argon2-memory-kib", "19456", "--argon2-iterations", "12"];
    let app = App::start_with(&[one_at_a_time, slow].concat()).await;
    app.create("gone", &["user"]).await;
    app.disable("gone").await;
    let (opaque, jwt) = app.tokens("root").await;
    let anon = app.anon();
    let with_basic = app.with(basic("root", PASSWORD));
    let logins = (0..24).map(|i| {
        let (anon, with_basic) = (&anon, &with_basic);
        async move {
            let login = async |name| anon.post("/login", &json!({"username": name, "password": PASSWORD})).await;
            match i % 4 {
                0 => login("root").await,
                1 => login("nobody").await,
                2 => login("gone").await,
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
    let is_busy = |answer: &&Answer| answer.status == 503;
    for answer in answers.iter().filter(is_busy) {
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("busy", "1"));
    }
    assert!(answers.iter().all(|answer| [200, 401, 503].contains(&answer.status.as_u16())));
    for kind in 0..4 {
        // If unknown or disabled users cost no hash, they would never find the queue full.
        let busy = answers.iter().skip(kind).step_by(4).filter(is_busy).count();
        assert!(busy > 0, "none of kind {kind} was turned away");
    }
    assert!(answers.iter().filter(is_busy).count() < 24);
    app.login("root").await;
}
