//! Mails on their way: what happens when the mail server is away, slow or refuses.

use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use serde_json::json;

use super::{FLAGS, Sink, create_ana, deliver, token_in};
use crate::support::{App, Database, free_port, on_postgres};

fn metric(app: &App, name: &str) -> u64 {
    let mut metrics = String::new();
    text::encode_registry(&mut metrics, app.service.auth().metrics()).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("countersign_{name}_total ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Invites a user at this address, by mail.
async fn invite(app: &App, email: &str) {
    let username = email.split('@').next().unwrap();
    let body = json!({"username": username, "email": email, "invite": true, "deliver": true});
    app.admin().post("/admin/users", &body).await.expect(201);
}

async fn waiting(app: &App) -> String {
    app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM outbox").await
}

#[tokio::test]
async fn a_mail_waits_sealed_and_is_gone_once_sent() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    invite(&app, "ana@example.com").await;
    let hex = if on_postgres().is_some() { "encode(sealed, 'hex')" } else { "lower(hex(sealed))" };
    let stored = app.database.text(&format!("SELECT {hex} FROM outbox")).await;
    for word in ["ana@example.com", "invitation", "/link/"] {
        assert!(!stored.contains(&hex::encode(word)), "{word} is in {stored}");
    }
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!(waiting(&app).await, "0");
    assert_eq!(metric(&app, "mails_sent"), 1);
    let header = |name: &str| {
        let headers = mail["headers"].as_array().unwrap();
        let found: Vec<_> =
            headers.iter().filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name)).collect();
        assert_eq!(found.len(), 1, "{name}: {mail}");
        found[0][1].as_str().unwrap().to_owned()
    };
    assert_eq!(header("from"), "Acmé <auth@example.com>");
    assert_eq!(header("auto-submitted"), "auto-generated");
    assert!(header("message-id").ends_with("@example.com>") && !header("date").is_empty());
    assert!(header("content-type").starts_with("multipart/alternative"));
    assert_eq!((&mail["defects"], &mail["hello"]), (&json!([]), &json!("auth.example.com")));
}

#[tokio::test]
async fn a_mail_that_is_not_taken_is_tried_again_later_and_longer_each_time() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    invite(&app, "later@example.com").await;
    deliver(&app).await;
    sink.expect_none();
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_delayed")), ("1", 1));
    app.advance_clock(Duration::from_secs(4));
    deliver(&app).await;
    sink.expect_none();
    app.advance_clock(Duration::from_secs(1));
    deliver(&app).await;
    assert_eq!(token_in(&sink.next()).len(), 43);
}

#[tokio::test]
async fn a_mail_is_given_up_after_a_day_or_when_it_is_refused_and_that_is_recorded() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    invite(&app, "refuse@example.com").await;
    deliver(&app).await;
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_failed")), ("0", 1));
    let failed = app.admin().get("/admin/audit?event=mail.failed").await.expect(200).json();
    let user = app.admin().get("/admin/users?q=refuse").await.json()["items"][0]["id"].clone();
    assert_eq!(
        (&failed["items"][0]["subject"], &failed["items"][0]["outcome"]),
        (&user, &json!("refused")),
        "{failed}"
    );

    // A server that refuses everything, because it does not know the sender, may know it tomorrow.
    invite(&app, "deny@example.com").await;
    deliver(&app).await;
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_failed")), ("1", 1));
    app.database.sql("DELETE FROM outbox").await;

    // A server that is away.
    let port = free_port();
    let url = format!("smtp://127.0.0.1:{port}");
    let away = App::on(app.database.clone(), &[&["--smtp-url", &url], &FLAGS[..]].concat()).await;
    invite(&away, "ana@example.com").await;
    let mut hours = 0;
    while waiting(&away).await == "1" {
        deliver(&away).await;
        // The clean-up leaves what is still tried.
        away.service.auth().delete_expired().await.unwrap();
        away.advance_clock(Duration::from_secs(60 * 60));
        hours += 1;
        assert!(hours < 40, "it is never given up");
    }
    assert!((23..=26).contains(&hours), "{hours}");
    assert_eq!(metric(&away, "mails_failed"), 1);
}

#[tokio::test]
async fn a_server_that_cuts_the_line_gets_the_mail_again_with_the_same_id() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    invite(&app, "cut@example.com").await;
    deliver(&app).await;
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_delayed")), ("1", 1));
    // Nothing of it is lost for others meanwhile.
    invite(&app, "ana@example.com").await;
    deliver(&app).await;
    sink.next();
}

#[tokio::test]
async fn of_several_servers_one_sends_each_mail_and_another_takes_over_from_one_that_died() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    let other = App::on(app.database.clone(), &[&["--smtp-url", &url], &FLAGS[..]].concat()).await;
    for i in 0..12 {
        invite(&app, &format!("user{i}@example.com")).await;
    }
    tokio::join!(deliver(&app), deliver(&other));
    let mut to: Vec<_> = (0..12).map(|_| sink.next()["to"][0].as_str().unwrap().to_owned()).collect();
    to.sort_unstable();
    to.dedup();
    assert_eq!(to.len(), 12);
    sink.expect_none();

    // One that has claimed a mail and died. Its time for it ends after five minutes.
    invite(&app, "ana@example.com").await;
    app.database.sql("UPDATE outbox SET due_at = due_at + 300000, attempts = 1").await;
    deliver(&other).await;
    sink.expect_none();
    other.advance_clock(Duration::from_secs(300));
    deliver(&other).await;
    sink.next();
}

#[tokio::test]
async fn a_way_back_in_goes_before_a_thousand_invitations_and_nothing_old_goes_out() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    for i in 0..20 {
        invite(&app, &format!("user{i}@example.com")).await;
    }
    app.anon().post("/password/forgot", &json!({"login": "ana"})).await.expect(202);
    for _ in 0..2 {
        app.service.auth().send_due_mails().await.unwrap();
    }
    let first: Vec<_> = (0..7).map(|_| sink.next()["to"][0].as_str().unwrap().to_owned()).collect();
    assert!(first.contains(&"ana@example.com".to_owned()), "{first:?}");
    // A server that comes back after days.
    app.advance_clock(Duration::from_secs(3 * 86_400));
    deliver(&app).await;
    sink.expect_none();
    assert_eq!(waiting(&app).await, "0");
    // Where nobody sends mail, the rows do not stay either.
    invite(&app, "ben@example.com").await;
    app.advance_clock(Duration::from_secs(3 * 86_400));
    app.service.auth().delete_expired().await.unwrap();
    assert_eq!(waiting(&app).await, "0");
}

#[tokio::test]
async fn a_mail_whose_link_has_expired_is_not_sent() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--invitation-ttl", "1h"]).await;
    invite(&app, "ana@example.com").await;
    app.advance_clock(Duration::from_secs(3600));
    deliver(&app).await;
    sink.expect_none();
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_failed")), ("0", 1));
}

#[tokio::test]
async fn a_slow_mail_server_holds_no_request() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "slow@example.com").await;
    let auth = app.service.auth().clone();
    let begun = Instant::now();
    for _ in 0..5 {
        app.anon().post("/password/forgot", &json!({"login": "ana"})).await.expect(202);
    }
    let sending = tokio::spawn(async move {
        auth.send_due_mails().await.unwrap();
        auth.send_due_mails().await
    });
    app.login("ana").await;
    app.anon().post("/password/forgot", &json!({"login": "ana"})).await.expect(202);
    assert!(begun.elapsed() < Duration::from_secs(10));
    sending.abort();
}

#[tokio::test]
async fn a_mail_that_another_secret_key_sealed_is_given_up() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    invite(&app, "ana@example.com").await;
    // The same as if it had been sealed otherwise.
    app.database.sql("UPDATE outbox SET id = (SELECT id FROM users WHERE username = 'root')").await;
    deliver(&app).await;
    sink.expect_none();
    assert_eq!((waiting(&app).await.as_str(), metric(&app, "mails_failed")), ("0", 1));
}

#[tokio::test]
async fn names_and_addresses_add_no_header_and_no_recipient() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "open", "--limit-burst", "off"]).await;
    for email in [
        "ana@example.com\r\nBcc: victim@example.com",
        "ana@example.com\nx",
        "ana@example.com,victim@example.com",
        "<ana@example.com>",
        "ana@example.com>\r\nRCPT TO:<victim@example.com",
        "Ana <ana@example.com>",
        "ana@[127.0.0.1]\r\n",
        "\u{0}@example.com",
    ] {
        let body = json!({"username": "ana", "email": email, "invite": true, "deliver": true});
        app.admin().post("/admin/users", &body).await.expect(422);
        app.anon().post("/register", &json!({"email": email})).await.expect(422);
        app.anon().post("/password/forgot", &json!({"login": email})).await.expect(202);
    }
    for name in ["x\r\nBcc: victim@example.com", "x\ny", "x\u{85}y", "x\u{2028}y"] {
        let body =
            json!({"username": "ana", "name": name, "email": "ana@example.com", "invite": true, "deliver": true});
        app.admin().post("/admin/users", &body).await.expect(422);
    }
    // What is allowed arrives as it is, and as text.
    let name = "\"<b>Ana</b>\" {{ url }} [x](https://evil.example) =?utf-8?q?x?= .";
    let body =
        json!({"username": "ana", "name": name, "email": "ana.o'neill+x@example.com", "invite": true, "deliver": true});
    app.admin().post("/admin/users", &body).await.expect(201);
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!(mail["to"], json!(["ana.o'neill+x@example.com"]));
    assert!(mail["text"].as_str().unwrap().starts_with(&format!("Hello {name},")), "{mail}");
    let html = mail["html"].as_str().unwrap();
    assert!(!html.contains("<b>Ana") && !html.contains("href=\"https://evil"), "{html}");
    sink.expect_none();
}

#[tokio::test]
async fn mail_that_cannot_work_stops_the_start() {
    let folder = Database::new().await;
    let from = ["--mail-from", "auth@example.com"];
    let public = ["--public-url", "https://auth.example.com"];
    let smtp = ["--smtp-url", "smtp://localhost"];
    for (flags, said) in [
        ([&smtp[..], &public].concat(), "COUNTERSIGN_MAIL_FROM: is missing"),
        ([&smtp[..], &from].concat(), "COUNTERSIGN_PUBLIC_URL: is missing"),
        ([&smtp[..], &public, &["--mail-from", "nobody"]].concat(), "COUNTERSIGN_MAIL_FROM: must be an address"),
        ([&["--smtp-url", "mail.example.com"][..], &public, &from].concat(), "COUNTERSIGN_SMTP_URL: must be"),
        (
            [&smtp[..], &public, &from, &["--mail-templates", "/nowhere"]].concat(),
            "COUNTERSIGN_MAIL_TEMPLATES: /nowhere",
        ),
        (
            [&smtp[..], &public, &from, &["--mail-language", "de"]].concat(),
            "COUNTERSIGN_MAIL_LANGUAGE: there is no de.txt",
        ),
    ] {
        let error = App::try_with(folder.clone(), &flags).await.err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}
