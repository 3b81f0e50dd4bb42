//! Figures of the installation: logins by the hour, and what metrics say of its state and of credentials.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::text;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App, PASSWORD, basic, bearer, on_postgres};

/// The series of a metric, by their labels.
fn series(app: &App, name: &str) -> BTreeMap<String, i64> {
    let mut metrics = String::new();
    text::encode_registry(&mut metrics, app.service.auth().metrics()).unwrap();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&format!("countersign_{name}"))?.rsplit_once(' '));
    lines
        .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
        .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

fn value(app: &App, name: &str) -> i64 {
    series(app, name)[""]
}

/// Another server on the same database, which has read no figures yet.
async fn another(app: &App) -> App {
    let other = App::on(app.database.clone(), &["--limit-burst", "3"]).await;
    other.advance_clock(Duration::from_secs((app.now_seconds() - other.now_seconds()).try_into().unwrap()));
    other
}

#[tokio::test]
async fn metrics_say_how_many_there_are_of_what() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    for name in ["ana", "ben", "cid"] {
        app.create(name, &["user"]).await;
    }
    for name in ["ben", "cid"] {
        app.disable(name).await;
    }
    for _ in 0..5 {
        app.tokens("ana").await;
    }
    let ended = app.tokens("ana").await.0;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    for name in ["a", "b", "c", "d", "e", "f"] {
        app.personal_token("root", &json!({"name": name, "expires_in": 3600})).await;
    }
    for i in 0..4 {
        app.with(basic("ana", &format!("wrong-password-{i}"))).get("/me").await;
    }
    let insert = match on_postgres() {
        Some(_) => "INSERT INTO outbox SELECT id, id, decode('00', 'hex'), 0, 0, 0, FALSE FROM users",
        None => "INSERT INTO outbox SELECT id, id, x'00', 0, 0, 0, 0 FROM users",
    };
    app.database
        .sql(&insert.replace("outbox", "outbox (id, user_id, sealed, created_at, due_at, attempts, bulk)"))
        .await;
    let auth = app.service.auth();
    assert_eq!((value(&app, "sessions"), value(&app, "database_up")), (0, 0), "nobody has asked");
    auth.refresh_gauges().await;
    let users = BTreeMap::from([("{status=\"active\"}".to_owned(), 2), ("{status=\"disabled\"}".to_owned(), 2)]);
    assert_eq!(series(&app, "users"), users);
    let figures =
        ["database_up", "sessions", "personal_tokens", "blocks", "outbox_length"].map(|name| value(&app, name));
    assert_eq!(figures, [1, 5, 6, 1, 4]);
    assert_eq!((value(&app, "logins_total"), value(&app, "passwords_limited_total")), (6, 1));
    // What cannot be read stays as it was.
    app.database.sql("ALTER TABLE outbox RENAME TO away").await;
    auth.refresh_gauges().await;
    assert_eq!((value(&app, "database_up"), value(&app, "sessions")), (0, 5));
    app.database.sql("ALTER TABLE away RENAME TO outbox").await;
    app.advance_clock(Duration::from_secs(3601));
    let other = another(&app).await;
    other.service.auth().refresh_gauges().await;
    assert_eq!((value(&other, "personal_tokens"), value(&other, "blocks"), value(&other, "database_up")), (0, 0, 1));
}

#[tokio::test]
async fn logins_are_counted_by_the_hour_once_and_for_two_days() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    let hours = async |app: &App| {
        let statistics = app.service.auth().statistics().await.unwrap();
        let hours = statistics.hours.iter().enumerate();
        let told = hours.filter(|(_, hour)| hour.succeeded + hour.failed + hour.limited > 0);
        let told = told.map(|(i, hour)| (i, hour.at.to_string(), hour.succeeded, hour.failed, hour.limited));
        (statistics.hours.len(), told.collect::<Vec<_>>())
    };
    app.tokens("root").await;
    app.advance_clock(Duration::from_secs(3599));
    app.tokens("root").await;
    app.advance_clock(Duration::from_secs(1));
    app.tokens("root").await;
    app.with(basic("root", "wrong-password")).get("/me").await.expect(401);
    let first = (46, "2026-01-01T00:00:00.000Z".to_owned(), 2, 0, 0);
    let second = (47, "2026-01-01T01:00:00.000Z".to_owned(), 1, 1, 0);
    assert_eq!(hours(&app).await, (48, vec![first, second.clone()]));
    // What was counted is kept for two seconds at least, and then not counted again.
    app.tokens("root").await;
    assert_eq!(hours(&app).await.1[1], second);
    let begun = std::time::Instant::now();
    while hours(&app).await.1[1].2 == 1 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(hours(&app).await.1[1], (47, "2026-01-01T01:00:00.000Z".to_owned(), 2, 1, 0));
    app.advance_clock(Duration::from_secs(46 * 3600));
    let other = another(&app).await;
    assert_eq!(
        hours(&other).await,
        (
            48,
            vec![
                (0, "2026-01-01T00:00:00.000Z".to_owned(), 2, 0, 0),
                (1, "2026-01-01T01:00:00.000Z".to_owned(), 2, 1, 0)
            ]
        )
            .clone()
    );
    app.advance_clock(Duration::from_secs(3600));
    let begun = std::time::Instant::now();
    while hours(&app).await.1.len() != 1 {
        assert!(begun.elapsed() < Duration::from_secs(30), "what is older than two days is not shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let other = another(&app).await;
    assert_eq!(hours(&other).await.1, hours(&app).await.1);
}

#[tokio::test]
async fn each_check_of_a_credential_is_counted_by_method_outcome_and_cache() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let personal = app.personal_token("root", &json!({"name": "a"})).await;
    let before = series(&app, "credentials_checked_total");
    for (credential, times) in [(&basic("root", PASSWORD), 4), (&opaque, 3), (&jwt, 2), (&personal, 1)] {
        for _ in 0..times {
            app.with(credential).get("/me").await.expect(200);
        }
    }
    let unknown = |text: &str| bearer(text);
    let mut forged = jwt.clone();
    forged.push('A');
    for (refused, status) in [
        (basic("root", "wrong-password"), 401),
        (unknown("0198b7a2-0000-4000-8000-0000000000ca"), 401),
        (forged, 401),
        (unknown("no token"), 401),
    ] {
        app.with(refused).get("/me").await.expect(status);
    }
    let after = series(&app, "credentials_checked_total");
    let counted: BTreeMap<_, _> = after
        .iter()
        .map(|(labels, count)| (labels.replace(['{', '}', '"'], ""), count - before.get(labels).copied().unwrap_or(0)))
        .filter(|(_, count)| *count != 0)
        .collect();
    let expected = [
        ("method=basic,outcome=accepted,cache=hit", 4),
        ("method=basic,outcome=refused,cache=miss", 1),
        ("method=opaque,outcome=accepted,cache=hit", 2),
        ("method=opaque,outcome=accepted,cache=miss", 1),
        ("method=opaque,outcome=refused,cache=miss", 1),
        ("method=jwt,outcome=accepted,cache=hit", 1),
        ("method=jwt,outcome=accepted,cache=miss", 1),
        ("method=jwt,outcome=refused,cache=miss", 1),
        ("method=personal,outcome=accepted,cache=miss", 1),
        ("method=unknown,outcome=refused,cache=miss", 1),
    ];
    // On PostgreSQL a server reads its own changes in their log, too, and then looks what they concern up once more.
    let told = |counts: Vec<(String, i64)>| {
        let mut told = BTreeMap::new();
        for (labels, count) in counts {
            let (known, _) = labels.split_once(",cache").unwrap();
            *told.entry(if on_postgres().is_some() { known.to_owned() } else { labels }).or_default() += count;
        }
        told
    };
    let expected = told(expected.map(|(labels, count)| (labels.to_owned(), count)).into());
    let counted: BTreeMap<String, i64> = told(counted.into_iter().collect());
    assert_eq!(counted, expected);
    // When nobody can say, nothing was refused.
    app.database.sql("ALTER TABLE sessions RENAME TO away").await;
    Answer::of(app.with(unknown("0198b7a2-0000-4000-8000-0000000000cb")).request(Method::GET, "/me")).await.expect(500);
    assert_eq!(series(&app, "credentials_checked_total"), after);
}
