//! `countersign import` and `countersign export`: users as files.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Shell;
use crate::support::{Answer, App, Binary, Database, PASSWORD, basic, on_postgres, python_with};

/// A cheap hash of `my-password` by Werkzeug.
const HASH: &str =
    "pbkdf2:sha256:1000$nxUst4XxMQKHyBQn$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80";

fn users(count: usize) -> String {
    (0..count).fold("username,password_hash\n".to_owned(), |mut csv, i| {
        writeln!(csv, "u{i},{HASH}").unwrap();
        csv
    })
}

/// The table has the columns of Flask-SQLAlchemy's usual model and hashes of Werkzeug.
#[tokio::test]
async fn a_flask_table_with_werkzeug_hashes_is_imported_by_one_command_without_password_resets() {
    let Some(python) = python_with("werkzeug") else { return };
    let app = App::start().await;
    let folder = app.database.folder.path();
    let script = r#"
import sqlite3, sys
from werkzeug.security import generate_password_hash

database = sqlite3.connect(sys.argv[1])
database.execute("CREATE TABLE user (id INTEGER PRIMARY KEY, username VARCHAR(64), email VARCHAR(120), password_hash VARCHAR(256))")
methods = ["scrypt", "scrypt:1024:8:1", "pbkdf2:sha256:1000", "pbkdf2:sha256"]
for i, method in enumerate(methods):
    database.execute(
        "INSERT INTO user (username, email, password_hash) VALUES (?, ?, ?)",
        (f"User{i}", f"user{i}@example.com", generate_password_hash(f"password of {i}", method)),
    )
database.commit()
print("username,email,password_hash")
for row in database.execute("SELECT username, email, password_hash FROM user"):
    print(",".join(row))
"#;
    let table = Command::new(python).args(["-c", script]).arg(folder.join("flask.db")).output().unwrap();
    assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
    // Like `sqlite3 -csv -header flask.db 'SELECT username, email, password_hash FROM user' | countersign import -`.
    let said = Shell::on(&app.database).run(&["import", "-"], &String::from_utf8(table.stdout).unwrap());
    assert_eq!(said.unwrap(), "4 created\n");
    for i in 0..4 {
        let body = json!({"username": format!("user{i}"), "password": format!("password of {i}")});
        for _ in 0..2 {
            let login = app.anon().post("/login", &body).await.expect(200).json();
            assert_eq!(login["user"]["username"], format!("user{i}"));
        }
        let wrong = json!({"username": format!("user{i}"), "password": "password of 9"});
        app.anon().post("/login", &wrong).await.expect(401);
    }
    let old = "SELECT CAST(COUNT(*) AS TEXT) FROM users WHERE password_hash NOT LIKE '$argon2id$%'";
    assert_eq!(app.database.text(old).await, "0");
}

#[tokio::test]
async fn outcomes_of_rows_are_reported_as_text_and_as_json() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let shell = Shell::on(&app.database);
    let folder = app.database.folder.path();
    let file = folder.join("users.csv");
    fs::write(&file, format!("username,password_hash\nsergio,{HASH}\na,{HASH}\nb,canary\n:,{HASH}\n")).unwrap();
    let (file, report) = (file.to_str().unwrap(), folder.join("report"));
    let (report, rows) = (report.to_str().unwrap(), ["skipped", "created", "failed", "failed"]);

    let ended = shell.end(&["import", file, "--dry-run", "--report", report], "");
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert_eq!(
        ended.stdout,
        "line 4: b: password_hash is of no known form, was cut, or costs more than is paid\n\
         line 5: -: username must have no colon, space or invisible character\n\
         1 created, 1 skipped, for somebody has the username, 2 failed\nit was a dry run: nothing was kept\n"
    );
    let lines: Vec<Value> =
        fs::read_to_string(report).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, rows);
    assert_eq!((&lines[4]["summary"]["rows"], &lines[4]["summary"]["dry_run"]), (&json!(4), &json!(true)));

    let ended = shell.end(&["import", file, "--json"], "");
    assert_eq!(ended.code, 3);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..4].iter().map(|line| line["outcome"].as_str().unwrap()).collect::<Vec<_>>(), rows);
    assert_eq!(lines[4]["summary"]["dry_run"], false);
    assert!(!ended.stdout.contains("canary"));
    app.with(basic("a", PASSWORD)).get("/me").await.expect(200);

    let ended = shell.end(&["import", file, "--on-conflict", "fail"], "");
    assert_eq!(ended.code, 3);
    assert!(ended.stdout.ends_with("stopped at line 2: username belongs to someone already\n"), "{}", ended.stdout);
    let row = format!("{{\"username\": \"c\", \"password_hash\": \"{HASH}\"}}\n");
    assert_eq!(shell.run(&["import", "-"], &row).unwrap(), "1 created\n", "a brace begins NDJSON");
    for (args, stdin, said) in [
        (vec!["import", "nothing.csv"], "", "nothing.csv cannot be read: "),
        (vec!["import", "-"], "canary,username\n", "header column 1 is none of id, username,"),
        (vec!["import", "-"], "", "username is missing in the header"),
    ] {
        let error = shell.run(&args, stdin).unwrap_err();
        assert!(error.starts_with(&format!("countersign: {said}")) && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn an_export_is_private_to_its_owner_and_can_be_imported() {
    let app = App::start().await;
    let shell = Shell::on(&app.database);
    assert_eq!(shell.run(&["import", "-"], &users(2500)).unwrap(), "2500 created\n");
    for name in ["users.csv", "users.ndjson", "users"] {
        let path = app.database.folder.path().join(name);
        let file = path.to_str().unwrap();
        assert_eq!(shell.run(&["export", file], "").unwrap(), "");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        let error = shell.run(&["export", file], "").unwrap_err();
        assert!(error.contains("cannot be written"), "an existing file is not overwritten: {error}");
        let other = Database::new().await;
        Shell::on(&other).run(&["migrate"], "").unwrap();
        assert_eq!(Shell::on(&other).run(&["import", file], "").unwrap(), "2501 created\n");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.starts_with("id,username,"), name.ends_with("csv"));
        assert_eq!(
            shell.run(&["export", "--format", if name.ends_with("csv") { "csv" } else { "ndjson" }], "").unwrap(),
            text
        );
    }
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'user.exported' AND method = 'command'";
    // Not those that failed.
    assert_eq!(app.database.text(recorded).await, "6");
}

#[tokio::test]
async fn a_killed_import_leaves_whole_batches_and_can_be_repeated() {
    let database = Database::new().await;
    let (shell, count) = (Shell::on(&database), 60_000);
    let file = database.folder.path().join("users.csv");
    fs::write(&file, users(count)).unwrap();
    let args = ["import", file.to_str().unwrap()];
    shell.run(&["migrate"], "").unwrap();
    let made = "SELECT CAST(COUNT(*) AS TEXT) FROM users";
    let mut killed = Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_SECRET_KEY", &base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]))
        .args(&args)
        .spawn();
    // Kill the import after the first batches.
    while database.text(made).await == "0" {
        assert!(killed.0.try_wait().unwrap().is_none(), "it ended before its first batch");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let left: usize = database.text(made).await.parse().unwrap();
    assert!(left < count && left.is_multiple_of(2500), "{left}");
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'user.imported'";
    assert_eq!(database.text(recorded).await, (left / 2500).to_string());
    let said = shell.run(&args, "").unwrap();
    assert_eq!(said, format!("{} created, {left} skipped, for somebody has the username\n", count - left));
    assert_eq!(database.text(made).await, count.to_string());
}

#[tokio::test]
async fn a_running_server_accepts_logins_during_an_import() {
    let app = App::start().await;
    let file = app.database.folder.path().join("users.csv");
    fs::write(&file, users(60_000)).unwrap();
    let mut import = Binary::new(app.database.folder.path())
        .env("DATABASE_URL", &app.database.url)
        .env("COUNTERSIGN_SECRET_KEY", &base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]))
        .args(&["import", file.to_str().unwrap()])
        .spawn();
    let mut logins = 0;
    while import.0.try_wait().unwrap().is_none() {
        app.login("root").await;
        logins += 1;
    }
    assert!(logins > 3, "{logins}");
    app.with(basic("u59999", PASSWORD)).get("/me").await.expect(200);
    let verified = app.admin().get("/admin/audit/verify").await.json();
    assert_eq!(verified["ok"], true);
}

/// The bar is drawn on a terminal only.
#[test]
fn an_import_shows_a_progress_bar_on_a_terminal() {
    let Some(script) = crate::support::find_program("script") else { return };
    if on_postgres().is_some() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    fs::write(folder.path().join("users.csv"), users(60_000)).unwrap();
    assert!(Binary::new(folder.path()).args(&["migrate"]).output().status.success());
    let command = format!("{} import users.csv", env!("CARGO_BIN_EXE_countersign"));
    let done = crate::support::command(script)
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(folder.path())
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}");
    assert!(said.contains("MiB") && said.contains("to go") && said.contains("60000 created"), "{said}");
}

#[tokio::test]
async fn an_import_stops_when_its_admin_is_demoted() {
    let app = App::start().await;
    app.create("other", &["admin"]).await;
    let (body, others) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
    let other = app.with(basic("other", PASSWORD)).request(Method::POST, "/admin/import");
    let parts = futures_util::stream::unfold(others, async |mut parts| Some((parts.recv().await?, parts)));
    let sent =
        tokio::spawn(Answer::of(other.header("content-type", "text/csv").body(reqwest::Body::wrap_stream(parts))));
    body.send(Ok(users(5000))).await.unwrap();
    while app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM users").await != "5002" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.database.sql("UPDATE users SET roles = 'user' WHERE username = 'other'").await;
    body.send(Ok(format!("late,{HASH}\n"))).await.unwrap();
    drop(body);
    sent.await.unwrap().expect(403);
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM users").await, "5002");
}
