//! Standbys of PostgreSQL that stream from a primary: read by checks, and promoted in its place.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{App, Cluster, Database, Line, PASSWORD, claims_of, on_postgres};

async fn me(app: &App, credential: &str) -> u16 {
    app.with(credential).get("/me").await.status.as_u16()
}

/// Waits until a standby has all that its primary has.
async fn caught_up(primary: &Database, standby: &Database) {
    let end = primary.text("SELECT pg_current_wal_insert_lsn()::TEXT").await;
    let begun = Instant::now();
    while standby.text(&format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::TEXT")).await != "true" {
        assert!(begun.elapsed() < Duration::from_secs(30), "the standby does not follow");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Deletes a session where no server hears of it, so that its credentials show which PostgreSQL is asked.
async fn delete_unheard(app: &App, primary: &Database, credential: &str) {
    let own = app.with(credential).get("/me/sessions").await.expect(200).json();
    let current = own["items"].as_array().unwrap().iter().find(|session| session["current"] == json!(true)).unwrap();
    primary.sql(&format!("DELETE FROM sessions WHERE id = '{}'", current["id"].as_str().unwrap())).await;
}

/// Waits until a server asks the replica: there the session is still live.
async fn replica_is_asked(app: &App, deleted: [&str; 2]) {
    let begun = Instant::now();
    while (me(app, deleted[0]).await, me(app, deleted[1]).await) != (200, 200) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the replica is not asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_replica_answers_a_check_only_while_it_has_every_change_that_was_heard_of() {
    if on_postgres().is_none() {
        return; // SQLite has no replicas
    }
    let Some(first) = Cluster::start() else { return };
    let second = first.standby();
    let database = Database::new().await;
    let (primary, standby) = (database.at(first.url()), database.at(second.url()));
    let flags = ["--credential-cache", "0", "--limit-burst", "off", "--database-read-url", &second.url()];
    let app = App::on(primary.clone(), &flags).await;
    app.create("root", &["user", "admin"]).await;
    let other = App::on(primary.clone(), &["--limit-burst", "off"]).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(app.tokens("root").await);
    }
    let [(a, a_jwt), (b, b_jwt), (c, _), (d, d_jwt), (e, e_jwt)] = sessions.as_slice() else { unreachable!() };
    // Without a change nobody could tell how new a replica is.
    let (ended, _) = app.tokens("root").await;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    caught_up(&primary, &standby).await;
    standby.sql("SELECT pg_wal_replay_pause()").await;
    delete_unheard(&app, &primary, a).await;
    replica_is_asked(&app, [a, a_jwt]).await;
    assert_eq!(me(&other, a).await, 401, "a server without a replica");

    // What the replica does not have yet, the primary has.
    let (new, new_jwt) = app.tokens("root").await;
    assert_eq!((me(&app, &new).await, me(&app, &new_jwt).await), (200, 200));

    // A change of this server counts at once; from then on the replica is behind.
    app.with(b).send(Method::POST, "/logout").await.expect(204);
    assert_eq!((me(&app, b).await, me(&app, b_jwt).await), (401, 401));
    assert_eq!((me(&app, a).await, me(&app, c).await), (401, 200), "the primary is asked");

    // One of another server counts within a second.
    standby.sql("SELECT pg_wal_replay_resume()").await;
    caught_up(&primary, &standby).await;
    standby.sql("SELECT pg_wal_replay_pause()").await;
    delete_unheard(&app, &primary, e).await;
    replica_is_asked(&app, [e, e_jwt]).await;
    assert_eq!(me(&app, d).await, 200);
    other.with(d).send(Method::POST, "/logout").await.expect(204);
    let revoked = Instant::now();
    loop {
        let asked = Instant::now();
        let statuses = (me(&app, d).await, me(&app, d_jwt).await);
        if statuses == (401, 401) {
            break;
        }
        assert!(asked < revoked + Duration::from_secs(1), "{statuses:?} a second later");
    }

    // A replica that is gone is missed by nobody.
    second.stop();
    for _ in 0..3 {
        assert_eq!(me(&app, c).await, 200);
    }
    second.go_on();
}

/// The time of a last use is no change that servers hear of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_used_elsewhere_is_not_idle_though_the_replica_does_not_know() {
    if on_postgres().is_none() {
        return;
    }
    let Some(first) = Cluster::start() else { return };
    let second = first.standby();
    let database = Database::new().await;
    let (primary, standby) = (database.at(first.url()), database.at(second.url()));
    let flags = ["--credential-cache", "0", "--idle-ttl", "10m", "--database-read-url", &second.url()];
    let app = App::on(primary.clone(), &flags).await;
    app.create("root", &["user", "admin"]).await;
    let (used, used_jwt) = app.tokens("root").await;
    let (asked, asked_jwt) = app.tokens("root").await;
    let (ended, _) = app.tokens("root").await;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    caught_up(&primary, &standby).await;
    standby.sql("SELECT pg_wal_replay_pause()").await;
    delete_unheard(&app, &primary, &asked).await;
    replica_is_asked(&app, [&asked, &asked_jwt]).await;
    let id = claims_of(used_jwt.trim_start_matches("Bearer "))["sid"].as_str().unwrap().to_owned();
    primary.sql(&format!("UPDATE sessions SET last_seen_at = created_at + 300000 WHERE id = '{id}'")).await;
    app.advance_clock(Duration::from_secs(601));
    assert_eq!(me(&app, &used).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_primary_is_not_believed_though_its_numbers_are_higher() {
    if on_postgres().is_none() {
        return;
    }
    let Some(first) = Cluster::start() else { return };
    let database = Database::new().await;
    let primary = database.at(first.url());
    let app = App::on(primary.clone(), &["--limit-burst", "off"]).await;
    app.create("root", &["user", "admin"]).await;
    let (a, a_jwt) = app.tokens("root").await;
    let (b, b_jwt) = app.tokens("root").await;
    // One change that both have.
    let (ended, _) = app.tokens("root").await;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    app.service.auth().stop().await;
    // It goes its own way from here, as what was a standby of a primary that is gone.
    let second = first.copy();
    let line = Line::to(&database.at(second.url()));
    let flags = ["--credential-cache", "0", "--limit-burst", "off", "--database-read-url", &line.url];
    let app = App::on(primary.clone(), &flags).await;
    delete_unheard(&app, &primary, &a).await;
    replica_is_asked(&app, [&a, &a_jwt]).await;
    let fork = "UPDATE change_head SET seq = seq + 100; \
        INSERT INTO changes (seq) SELECT i FROM change_head, generate_series(change_head.seq - 99, change_head.seq) AS i";
    database.at(second.url()).sql(fork).await;
    app.with(&b).send(Method::POST, "/logout").await.expect(204);
    for credential in [&b, &b_jwt, &a, &a_jwt] {
        assert_eq!(me(&app, credential).await, 401);
    }
    // One that falls silent is not waited for again and again, and nobody is refused for it.
    let (live, _) = app.tokens("root").await;
    line.cut();
    for _ in 0..20 {
        assert_eq!(me(&app, &live).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_turns_to_a_standby_that_was_promoted() {
    if on_postgres().is_none() {
        return;
    }
    let Some(first) = Cluster::start() else { return };
    let second = first.standby();
    let database = Database::new().await;
    let hosts = format!("host={},{}", first.socket(), second.socket());
    let url = format!("postgres:///postgres?{hosts}&user=postgres&target_session_attrs=read-write");
    let app = App::on(database.at(url), &["--limit-burst", "off"]).await;
    app.create("root", &["user", "admin"]).await;
    let (kept, kept_jwt) = app.tokens("root").await;
    let (ended, ended_jwt) = app.tokens("root").await;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    caught_up(&database.at(first.url()), &database.at(second.url())).await;
    first.stop();
    // A standby that is no primary yet is not taken for one.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert!(matches!(me(&app, &kept).await, 200 | 503));
        assert!(matches!(me(&app, &ended).await, 401 | 503));
    }
    second.promote();
    let promoted = Instant::now();
    loop {
        let login = app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await;
        match login.status.as_u16() {
            200 => break,
            status => assert_eq!(status, 503, "{}", login.text),
        }
        assert!(matches!(me(&app, &kept).await, 200 | 503), "a false no");
        assert!(promoted.elapsed() < Duration::from_secs(8), "it does not turn to the new primary");
    }
    assert_eq!((me(&app, &kept).await, me(&app, &kept_jwt).await), (200, 200));
    assert_eq!((me(&app, &ended).await, me(&app, &ended_jwt).await), (401, 401));
    first.go_on();
}
