//! PostgreSQL behind PgBouncer, which lends its connections for one transaction at a time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{App, Database, PASSWORD, Pooler, basic, bearer, on_postgres};

#[tokio::test]
async fn servers_work_through_a_pooler_of_transactions() {
    if on_postgres().is_none() {
        return; // SQLite has no pooler
    }
    let database = Database::new().await;
    let Some(pooler) = Pooler::to(&database) else { return };
    let at_pooler = || database.at(pooler.url.clone());

    // What belongs to a session is refused with the mend.
    let undeclared = database.at(pooler.url.replace("&pgbouncer=true", ""));
    let why = App::try_on(undeclared).await.err().unwrap().to_string();
    assert!(why.contains("add pgbouncer=true to the address"), "{why}");
    let why = App::try_on(at_pooler()).await.err().unwrap().to_string();
    assert!(why.contains("run countersign migrate with the address of PostgreSQL itself"), "{why}");
    database.migrate_to(i64::MAX).await;

    let flags = ["--limit-burst", "off", "--sessions-per-user", "1000"];
    let first = App::on(at_pooler(), &flags).await;
    let second = App::on(at_pooler(), &flags).await;
    first.create("root", &["user", "admin"]).await;
    // More at a time than the pooler has connections, so that each statement of a request could meet another one.
    let login = async |app: &App| app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await;
    let logins = join_all((0..40).map(|i| login(if i % 2 == 0 { &first } else { &second }))).await;
    let me = async |app: &App, token: &str| app.with(bearer(token)).get("/me").await.status.as_u16();
    let tokens: Vec<_> =
        logins.into_iter().map(|login| login.expect(200).json()["opaque_token"].as_str().unwrap().to_owned()).collect();
    for app in [&first, &second] {
        assert_eq!(join_all(tokens.iter().map(|token| me(app, token))).await, [200; 40]);
    }
    for (i, token) in tokens.iter().enumerate() {
        let (ends, other) = if i % 2 == 0 { (&first, &second) } else { (&second, &first) };
        ends.with(bearer(token)).send(Method::POST, "/logout").await.expect(204);
        let revoked = Instant::now();
        while me(other, token).await != 401 {
            assert!(revoked.elapsed() < Duration::from_secs(5), "it is never refused");
        }
    }
    first.with(basic("root", PASSWORD)).get("/admin/users").await.expect(200);
    assert_eq!(first.anon().get("/ready").await.status, 200);
    // Nothing is left in a transaction.
    let open =
        "SELECT COUNT(*)::TEXT FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()";
    let begun = Instant::now();
    while database.text(open).await != "0" {
        assert!(begun.elapsed() < Duration::from_secs(5), "a transaction stays open");
    }
}
