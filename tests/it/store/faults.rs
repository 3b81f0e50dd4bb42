//! Faults of the database under a running server: the answer is 503, never a wrong one, and work goes on by itself.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::support::{App, Cluster, Database, Line, PASSWORD, basic, on_postgres};

#[tokio::test]
async fn a_server_whose_connections_die_silently_is_whole_again_within_three_seconds() {
    if on_postgres().is_none() {
        return; // SQLite has no network
    }
    let database = Database::new().await;
    let line = Line::to(&database);
    let app = App::on(database.at(line.url.clone()), &["--limit-burst", "off"]).await;
    app.create("root", &["user", "admin"]).await;
    let login =
        async || app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await.status.as_u16();
    assert_eq!(join_all((0..8).map(|_| login())).await, [200; 8], "every connection of the pool is in use once");
    // Eight logins wait for a lock when the line is cut.
    let held = database.hold_writes().await;
    let in_flight = async {
        let begun = Instant::now();
        (join_all((0..8).map(|_| login())).await, begun.elapsed())
    };
    let ((answers, took), ()) = tokio::join!(in_flight, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        line.cut();
        held.release().await;
    });
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&503) && took < Duration::from_millis(3_600), "{answers:?} {took:?}");
    let since = Instant::now();
    while login().await != 200 || app.anon().get("/ready").await.status != 200 {
        assert!(since.elapsed() < Duration::from_secs(3), "it is not whole again");
    }
}

/// Two servers on one PostgreSQL, of which the second is reached by this URL; none on SQLite.
async fn two_servers(second: impl FnOnce(&Database) -> String) -> Option<(App, App)> {
    on_postgres()?;
    let first = App::start().await;
    // As another process would have it: tests do not tell it of changes.
    let database = first.database.at(second(&first.database));
    let second = App::on(database, &[]).await;
    Some((first, second))
}

/// Asks until the answer is this one. Returns how long that took; fails after some seconds.
async fn until(caller: &crate::support::Caller<'_>, path: &str, status: u16) -> Duration {
    let begun = Instant::now();
    while caller.get(path).await.status != status {
        assert!(begun.elapsed() < Duration::from_secs(5), "never {status}");
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_server_soon_refuses_what_another_one_has_revoked() {
    let Some((first, second)) = two_servers(|database| database.url.clone()).await else { return };
    let mut times = Vec::new();
    for round in 0..20 {
        let name = format!("user{round}");
        let id = first.create(&name, &["user"]).await;
        let (opaque, jwt) = first.tokens(&name).await;
        let personal = first.personal_token(&name, &json!({"name": "a"})).await;
        let password = basic(&name, PASSWORD);
        for credential in [&opaque, &jwt, &personal, &password] {
            second.with(credential).get("/me").await.expect(200);
        }
        match round % 4 {
            0 => drop(first.with(&opaque).send(Method::POST, "/logout").await.expect(204)),
            1 => drop(first.admin().send(Method::DELETE, &format!("/admin/users/{id}/sessions")).await.expect(204)),
            2 => drop(
                first.admin().patch(&format!("/admin/users/{id}"), &json!({"status": "disabled"})).await.expect(200),
            ),
            _ => drop(first.admin().send(Method::DELETE, &format!("/admin/users/{id}")).await.expect(204)),
        }
        let revoked = Instant::now();
        for credential in [&jwt, &opaque] {
            until(&second.with(credential), "/me", 401).await;
        }
        let others = if round % 4 < 2 { 200 } else { 401 };
        for other in [&personal, &password] {
            until(&second.with(other), "/me", others).await;
        }
        times.push(revoked.elapsed());
    }
    assert!(times.iter().all(|time| *time < Duration::from_secs(1)), "{times:?}");
}

/// Asks with a credential again and again for so long. Returns when the last request was sent that was let in. It counts from when
/// it was sent: on a busy machine its answer may take long.
async fn latest_yes(server: &App, credential: &str, during: Duration) -> Instant {
    let (caller, begun) = (server.with(credential), Instant::now());
    let mut latest = begun;
    while begun.elapsed() < during {
        let sent = Instant::now();
        if caller.get("/me").await.status == 200 {
            latest = sent;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    caller.get("/me").await.expect(401);
    latest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_servers_near_and_far_let_nobody_in_a_second_after_a_revocation() {
    if on_postgres().is_none() {
        return; // SQLite is one server
    }
    let first = App::start().await;
    let delays = (0..19).map(|i| Duration::from_micros(500 + i * 2_750));
    let lines: Vec<_> = delays.map(|delay| Line::as_long_as(delay, &first.database)).collect();
    let mut servers = join_all(lines.iter().map(|line| App::on(first.database.at(line.url.clone()), &[]))).await;
    servers.push(first);
    let first = servers.last().unwrap();
    first.create("ana", &["user"]).await;
    for _ in 0..3 {
        let (opaque, jwt) = first.tokens("ana").await;
        let ask = |credential| {
            join_all(servers.iter().map(move |server| latest_yes(server, credential, Duration::from_secs(3))))
        };
        let revoke = async {
            // Meanwhile every server has it in its cache, and hears of changes.
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            first.with(&opaque).send(Method::POST, "/logout").await.expect(204);
            Instant::now()
        };
        let (of_opaque, of_jwt, revoked) = tokio::join!(ask(&opaque), ask(&jwt), revoke);
        let latest = of_opaque.into_iter().chain(of_jwt).map(|sent| sent.saturating_duration_since(revoked)).max();
        assert!(latest.unwrap() < Duration::from_secs(1), "let in {latest:?} after the logout");
    }
}

#[tokio::test]
async fn a_server_that_has_missed_changes_drops_all_that_it_knew() {
    let Some((first, second)) = two_servers(|database| database.url.clone()).await else { return };
    let mut connection = sqlx::PgConnection::connect(&first.database.url).await.unwrap();
    for break_the_log in [
        "UPDATE change_head SET seq = seq + 5",
        "UPDATE change_head SET seq = 0",
        "UPDATE change_head SET seq = seq + 20000",
        "UPDATE changes SET tag = gen_random_uuid()",
    ] {
        first.create("ana", &["user"]).await;
        let (opaque, _) = first.tokens("ana").await;
        let caller = second.with(&opaque);
        caller.get("/me").await.expect(200);
        // Not written by Countersign, so that the log does not have it: only a look at the database tells.
        connection.execute("UPDATE users SET status = 'disabled' WHERE username = 'ana'").await.unwrap();
        connection.execute(break_the_log).await.unwrap();
        assert!(until(&caller, "/me", 401).await < Duration::from_secs(1), "{break_the_log}");
        connection.execute("DELETE FROM users WHERE username = 'ana'").await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_cut_off_lets_nobody_in_by_what_it_knew() {
    let mut line = None;
    let servers = two_servers(|database| line.insert(Line::to(database)).url.clone()).await;
    let (Some((first, second)), Some(line)) = (servers, line) else { return };
    first.create("ana", &["user"]).await;
    for _ in 0..3 {
        let (opaque, _) = first.tokens("ana").await;
        let caller = second.with(&opaque);
        caller.get("/me").await.expect(200);
        line.cut();
        first.with(&opaque).send(Method::POST, "/logout").await.expect(204);
        let revoked = Instant::now();
        loop {
            let asked = revoked.elapsed();
            let status = caller.get("/me").await.status.as_u16();
            assert!(status != 200 || asked < Duration::from_secs(1), "let in {asked:?} after the logout");
            if asked > Duration::from_secs(3) {
                assert_eq!(status, 401, "it is whole again");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_turns_to_another_postgresql_when_its_own_stops_or_takes_no_writes() {
    if on_postgres().is_none() {
        return;
    }
    let Some(first) = Cluster::start() else { return };
    let database = Database::new().await;
    let app = App::on(database.at(first.url()), &[]).await;
    app.create("root", &["user", "admin"]).await;
    app.service.auth().stop().await;
    // As a standby would have it.
    let second = first.copy();
    let hosts = format!("host={},{}", first.socket(), second.socket());
    let url = format!("postgres:///postgres?{hosts}&user=postgres&target_session_attrs=read-write");
    let app = App::on(database.at(url), &["--limit-burst", "off"]).await;
    let sessions = async |of: &Cluster| database.at(of.url()).text("SELECT CAST(COUNT(*) AS TEXT) FROM sessions").await;
    let login = async || {
        let begun = Instant::now();
        loop {
            let login = app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await;
            match login.status.as_u16() {
                200 => return,
                status => assert_eq!(status, 503, "{}", login.text),
            }
            assert!(begun.elapsed() < Duration::from_secs(8), "it stays with what takes no writes");
        }
    };
    login().await;
    assert_eq!((sessions(&first).await, sessions(&second).await), ("1".into(), "0".into()));
    first.stop();
    login().await;
    assert_eq!(sessions(&second).await, "1");
    first.go_on();
    let second_database = database.at(second.url());
    second_database.sql("ALTER SYSTEM SET default_transaction_read_only = on").await;
    second_database.sql("SELECT pg_reload_conf()").await;
    while second_database.text("SELECT current_setting('transaction_read_only')").await != "on" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    login().await;
    assert_eq!((sessions(&first).await, sessions(&second).await), ("2".into(), "1".into()));
}

#[tokio::test]
async fn a_server_on_a_database_that_can_only_be_read_starts_and_checks_but_is_not_ready() {
    if on_postgres().is_none() {
        return;
    }
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let database = app.database.clone();
    drop(app);
    let name = database.text("SELECT CAST(current_database() AS TEXT)").await;
    database.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let app = App::on(database, &[]).await;
    app.with(&opaque).get("/me").await.expect(200);
    app.anon().get("/ready").await.expect(503);
    let answer = app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await.expect(503);
    assert_eq!(answer.problem(), "unavailable");
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_was_deleted_or_replaced() {
    if on_postgres().is_some() {
        return;
    }
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let folder = app.database.folder.path();
    let (file, away) = (folder.join("countersign.db"), folder.join("away.db"));
    let login = async || app.anon().post("/login", &json!({"username": "root", "password": PASSWORD})).await;
    let other = App::start().await;
    other.service.auth().stop().await;
    let other = fs::read(other.database.folder.path().join("countersign.db")).unwrap();
    for replacement in [None, Some(&[][..]), Some(&other)] {
        fs::rename(&file, &away).unwrap();
        if let Some(replacement) = replacement {
            fs::write(&file, replacement).unwrap();
        }
        // The writer lets go of its connection, and must not make one to what is there now.
        for _ in 0..3 {
            app.database.poll_other_writers().await;
        }
        assert_eq!(login().await.expect(503).problem(), "unavailable");
        app.with(&opaque).send(Method::POST, "/logout").await.expect(503);
        app.with(&opaque).get("/me").await.expect(503);
        fs::rename(&away, &file).unwrap();
        app.database.poll_other_writers().await;
        login().await.expect(200);
        app.with(&opaque).get("/me").await.expect(200);
    }
}

#[tokio::test]
async fn a_server_that_cannot_write_is_not_ready_and_is_again_by_itself() {
    let app = App::start().await;
    app.anon().get("/ready").await.expect(200);
    if on_postgres().is_some() {
        return; // the lock of another process is on other tables there
    }
    let held = app.database.hold_writes().await;
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    app.anon().get("/ready").await.expect(503);
    held.release().await;
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    app.anon().get("/ready").await.expect(200);
}

/// One page after the other is overwritten with noise. Such a server may refuse to start, or to answer; what it must not do is
/// accept what was revoked or is wrong, or begin anew.
#[tokio::test]
async fn a_damaged_file_is_never_overwritten_and_lets_nobody_in() {
    const PAGE: usize = 4096;
    if on_postgres().is_some() {
        return;
    }
    let app = App::start().await;
    for i in 0..20 {
        app.create(&format!("user-{i}"), &["user"]).await;
    }
    let (mut alive, mut ended) = (Vec::new(), Vec::new());
    for i in 0..20 {
        let (opaque, jwt) = app.tokens(&format!("user-{i}")).await;
        if i % 2 == 0 {
            app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
            ended.extend([opaque, jwt]);
        } else {
            alive.extend([opaque, jwt]);
        }
    }
    app.service.auth().stop().await;
    let whole = fs::read(app.database.folder.path().join("countersign.db")).unwrap();
    let (mut refused, mut unharmed) = (0, 0);
    for page in 0..whole.len() / PAGE {
        let database = Database::new().await;
        let file = database.folder.path().join("countersign.db");
        let mut damaged = whole.clone();
        aws_lc_rs::rand::fill(&mut damaged[page * PAGE..][..PAGE]).unwrap();
        fs::write(&file, &damaged).unwrap();
        match App::try_on(database.clone()).await {
            Err(_sentence) => refused += 1,
            Ok(damaged) => {
                let status = async |credential: &str| damaged.with(credential).get("/me").await.status.as_u16();
                for credential in ended.iter().chain([&basic("root", "a-wrong-password"), &basic("nobody", PASSWORD)]) {
                    assert_ne!(status(credential).await, 200, "page {page}: {credential}");
                }
                let answers = join_all(alive.iter().map(|credential| status(credential))).await;
                unharmed += usize::from(answers.iter().all(|status| *status == 200));
                damaged.service.auth().stop().await;
            }
        }
        // A page that is not in use may be written; of those in use, none is taken for free.
        let after = fs::read(&file).unwrap();
        assert!(after.len() >= whole.len(), "page {page}");
        let pages = after.chunks(PAGE).zip(whole.chunks(PAGE));
        let changed = pages.enumerate().filter(|(i, (after, whole))| *i != page && after != whole).count();
        assert!(changed < 12, "page {page}: {changed} others changed");
    }
    assert!(refused > 0 && unharmed > 0, "{refused} refused, {unharmed} unharmed");
}
