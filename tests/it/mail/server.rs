//! The built binary, a mail server with TLS and a login, and an operator who tries it.

use serde_json::json;

use super::Sink;
use crate::support::{Binary, Database, PASSWORD, secret_key};

/// A certificate for localhost, which is its own root. The paths of it and of its key.
pub fn certificate(folder: &std::path::Path) -> [String; 2] {
    let [certificate, key] = ["mail.pem", "mail.key"].map(|name| folder.join(name).display().to_string());
    let made = crate::support::command("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [certificate, key]
}

fn binary(database: &Database, url: &str, roots: &str) -> Binary {
    Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_SECRET_KEY", &secret_key())
        .env("COUNTERSIGN_SMTP_URL", url)
        .env("COUNTERSIGN_MAIL_FROM", "auth@example.com")
        .env("COUNTERSIGN_PUBLIC_URL", "https://auth.example.com")
        .env("SSL_CERT_FILE", roots)
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn mail_goes_out_encrypted_with_a_login_and_an_operator_can_try_it() {
    let database = Database::new().await;
    let [cert, key] = certificate(database.folder.path());
    for kind in ["starttls", "smtps"] {
        let Some(sink) = Sink::start_with(&[kind, &cert, &key, "ana:p@ss"]) else { return };
        let scheme = if kind == "smtps" { "smtps" } else { "smtp" };
        // On this machine STARTTLS must be asked for.
        let query = if kind == "smtps" { "" } else { "?tls=required" };
        let url = |login: &str| format!("{scheme}://{login}@localhost:{}{query}", sink.port);
        binary(&database, &url("ana:p%40ss"), &cert).args(&["migrate"]).output();
        let run = |login: &str, roots: &str, args: &[&str]| binary(&database, &url(login), roots).args(args).output();

        let sent = run("ana:p%40ss", &cert, &["mail", "test", "ben@example.com"]);
        assert!(sent.status.success(), "{}", said(&sent));
        let mail = sink.next();
        assert_eq!(
            (&mail["to"], &mail["tls"], &mail["login"]),
            (&json!(["ben@example.com"]), &json!(true), &json!(true))
        );
        assert_eq!(mail["subject"], "A test from Countersign");

        let doctor = run("ana:p%40ss", &cert, &["doctor"]);
        assert!(said(&doctor).contains("the mail server answers"), "{}", said(&doctor));
        let wrong = run("ana:wrong", &cert, &["mail", "test", "ben@example.com"]);
        assert!(!wrong.status.success() && said(&wrong).contains("535"), "{}", said(&wrong));
        assert!(!said(&wrong).contains("wrong@"), "{}", said(&wrong));
        // A certificate that nobody vouches for.
        let stranger = run("ana:p%40ss", "/etc/ssl/certs/ca-certificates.crt", &["doctor"]);
        assert_eq!(stranger.status.code(), Some(3), "{}", said(&stranger));
        assert!(said(&stranger).contains("failed  mail  "), "{}", said(&stranger));
        sink.expect_none();
    }
}

#[tokio::test]
async fn a_running_server_sends_what_a_command_asks_for() {
    let Some(sink) = Sink::start() else { return };
    let database = Database::new().await;
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    let server = binary(&database, &url, "").env("COUNTERSIGN_ADMIN_USERNAME", "root");
    let server = server.env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD).serve();
    let made = binary(&database, &url, "")
        .args(&["user", "create", "ana", "--email", "ana@example.com", "--invite", "--deliver"])
        .output();
    assert!(said(&made).starts_with("a server sends it within seconds"), "{}", said(&made));
    assert_eq!(sink.next()["to"], json!(["ana@example.com"]));
    assert!(server.stop().success);
}

#[tokio::test]
async fn an_import_invites_by_mail_whoever_has_an_address() {
    let Some(sink) = Sink::start() else { return };
    let database = Database::new().await;
    let folder = database.folder.path();
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    std::fs::write(folder.join("list.csv"), "username,email\nana,ana@example.com\nben,\nzoe,zoe@stra\u{df}e.de\n")
        .unwrap();
    let _server = binary(&database, &url, "").serve();
    let done = binary(&database, &url, "").args(&["import", "list.csv", "--invite", "links.csv", "--deliver"]).output();
    assert!(said(&done).starts_with("3 created"), "{}", said(&done));
    assert_eq!(sink.next()["to"], json!(["ana@example.com"]));
    let links = std::fs::read_to_string(folder.join("links.csv")).unwrap();
    assert_eq!(
        links.lines().map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(),
        ["username", "ben", "zoe"]
    );
    sink.expect_none();
}

#[tokio::test]
async fn no_acknowledged_mail_is_lost_when_the_server_is_killed() {
    let Some(sink) = Sink::start() else { return };
    let database = Database::new().await;
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    let start = || {
        let server = binary(&database, &url, "").env("COUNTERSIGN_ADMIN_USERNAME", "root");
        server.env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD).serve()
    };
    let client = reqwest::Client::new();
    let mut promised = std::collections::BTreeSet::new();
    for round in 0..4 {
        let server = start();
        for i in 0..8 {
            let email = format!("user-{round}-{i}@example.com");
            let body =
                json!({"username": format!("user-{round}-{i}"), "email": email, "invite": true, "deliver": true});
            let request =
                client.post(format!("{}/admin/users", server.url())).basic_auth("root", Some(PASSWORD)).json(&body);
            assert_eq!(request.send().await.unwrap().status(), 201);
            promised.insert(email);
        }
        // Somewhere between the commit and the answer of the mail server.
        tokio::time::sleep(std::time::Duration::from_millis(250 * round)).await;
        drop(server);
        // A server that died had a mail for itself for two minutes, which are over.
        database.sql("UPDATE outbox SET due_at = 0").await;
    }
    let _server = start();
    while !promised.is_empty() {
        let to = sink.next()["to"][0].as_str().unwrap().to_owned();
        promised.remove(&to);
    }
}
