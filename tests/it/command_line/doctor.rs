//! `countersign doctor`: what it finds, and that it changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::SystemTime;

use clap::Parser;
use countersign::auth::{Finding, Verdict, examine};
use countersign::config::{Cli, Settings};
use countersign::model::Clock;
use serde_json::Value;

use super::backup::damaged;
use crate::support::{App, Binary, Database, PASSWORD, free_port, on_postgres};

/// The exit code and both formats of a report.
struct Report {
    code: i32,
    json: Value,
    text: String,
}

impl Report {
    /// `result check` of each check that is not ok.
    fn not_ok(&self) -> Vec<String> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        let not_ok = checks.filter(|check| check["result"] != "ok");
        not_ok.map(|check| format!("{} {}", check["result"], check["check"]).replace('"', "")).collect()
    }

    /// The finding of a check, and its remedy.
    #[track_caller]
    fn finding(&self, name: &str) -> String {
        let checks = self.json["checks"].as_array().unwrap();
        let check = checks.iter().rfind(|check| check["check"] == name).unwrap_or_else(|| panic!("{}", self.text));
        format!("{}; {}", check["found"].as_str().unwrap(), check["mend"].as_str().unwrap_or_default())
    }
}

fn binary(database: &Database) -> Binary {
    Binary::new(database.folder.path()).env("DATABASE_URL", &database.url)
}

/// A folder's files: name, mode, modification time and content.
fn snapshot(folder: &Path) -> Vec<(String, u32, SystemTime, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let about = path.metadata().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, about.permissions().mode(), about.modified().unwrap(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs the doctor in both formats, and asserts that it changed no file.
#[track_caller]
fn doctor(database: &Database, args: &[&str]) -> Report {
    let before = snapshot(database.folder.path());
    let run = |more: &[&str]| {
        let mut binary = binary(database).args(&["doctor"]).args(more);
        // `NAME=value` is a variable: secrets are no flags.
        for arg in args {
            binary = match arg.split_once('=').filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
                Some((name, value)) => binary.env(name, value),
                None => binary.args(&[arg]),
            };
        }
        binary.output()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert!(snapshot(database.folder.path()) == before, "it changed something");
    assert!(json.stderr.is_empty() && text.stderr.is_empty(), "{}", String::from_utf8_lossy(&json.stderr));
    let code = json.status.code().unwrap();
    assert_eq!(text.status.code(), Some(code));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(json["ok"], code == 0, "{text}");
    assert_eq!(text.lines().count(), json["checks"].as_array().unwrap().len() + 1, "one row per check: {text}");
    assert!(!text.contains("canary"), "{text}");
    Report { code, json, text }
}

/// A database on which a server was started, with an admin.
async fn installation() -> Database {
    let database = Database::new().await;
    binary(&database).serve().stop();
    admin(&database);
    database
}

fn admin(database: &Database) {
    use std::io::Write;
    let args = ["user", "create", "root", "--role", "admin", "--argon2-memory-kib", "8", "--argon2-iterations", "1"];
    let mut command = binary(database).args(&args);
    let mut child = command.0.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_healthy_installation_passes_with_and_without_a_server() {
    let database = installation().await;
    let without = doctor(&database, &[]);
    assert_eq!((without.code, without.not_ok()), (0, vec![]), "{}", without.text);
    let checks = without.json["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap());
    let mut checks: Vec<_> = checks.collect();
    checks.dedup();
    let all = ["settings", "issuer", "password hashing", "password length", "file mode", "database", "schema", "clock"];
    assert_eq!(checks, [&all[..], &["admin", "signing key", "e-mail", "mail"]].concat());
    let server = binary(&database).serve();
    let done = binary(&database).args(&["doctor"]).output();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    drop(server);
    let done = binary(&database).args(&["doctor"]).output();
    assert!(done.status.success(), "after a crash: {}", String::from_utf8_lossy(&done.stdout));
}

#[tokio::test]
async fn weak_settings_are_warnings_and_invalid_ones_fail() {
    let database = installation().await;
    let env = database.folder.path().join(".env");
    fs::write(&env, "COUNTERSIGN_JWT_SECRET=canary-canary-canary-canary-canary\n").unwrap();
    fs::set_permissions(&env, fs::Permissions::from_mode(0o644)).unwrap();
    let weak = ["--listen", "0.0.0.0:5000", "--argon2-memory-kib", "19455", "--password-min-length", "7"];
    let report = doctor(&database, &weak);
    let expected = ["warning issuer", "warning password hashing", "warning password length", "failed file mode"];
    assert_eq!(report.not_ok()[..3], expected[..3]);
    assert!(report.not_ok().contains(&expected[3].to_owned()) && report.code == 3, "{}", report.text);
    assert!(report.text.contains(".env is open to others, with mode 644; chmod 600 .env"), "{}", report.text);
    // The mode of .env matters only if it has secrets and others may read it.
    fs::set_permissions(&env, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!((doctor(&database, &weak).code, doctor(&database, &weak).not_ok().len()), (0, 3));
    fs::write(&env, "COUNTERSIGN_LISTEN=127.0.0.1:5000\nCOUNTERSIGN_JWT_SECRET=\n").unwrap();
    fs::set_permissions(&env, fs::Permissions::from_mode(0o644)).unwrap();
    let strong = ["--listen", "0.0.0.0:5000", "--issuer", "https://a.example", "--argon2-memory-kib", "47104"];
    assert_eq!(doctor(&database, &[&strong[..], &["--argon2-iterations", "1"]].concat()).not_ok(), [""; 0]);

    for (args, said) in [
        (vec!["COUNTERSIGN_SETUP_TOKEN=canary"], "COUNTERSIGN_SETUP_TOKEN: must be at least 16"),
        (vec!["COUNTERSIGN_SECRET_KEY=canary"], "COUNTERSIGN_SECRET_KEY: must be 32 bytes"),
        (vec!["--jwt-algorithm", "HS256", "COUNTERSIGN_JWT_SECRET=canary"], "COUNTERSIGN_JWT_SECRET: HS256 needs"),
        (vec!["--argon2-memory-kib", "7"], "COUNTERSIGN_ARGON2_MEMORY_KIB: "),
        (vec!["--admin-username", "root"], "COUNTERSIGN_ADMIN_USERNAME: is set without a password"),
        (vec!["--log", "canary=canary"], "RUST_LOG: must be levels"),
    ] {
        let report = doctor(&database, &args);
        assert!(report.code == 3 && report.not_ok().contains(&"failed settings".to_owned()), "{}", report.text);
        assert!(report.finding("settings").contains(said), "{args:?}: {}", report.text);
    }
}

#[tokio::test]
async fn files_readable_by_others_fail_and_are_not_changed() {
    let database = installation().await;
    let names = fs::read_dir(database.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in names.filter(|path| !path.to_string_lossy().ends_with(".lock")) {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let report = doctor(&database, &[]);
        assert_eq!((report.code, report.not_ok()), (3, vec!["failed file mode".to_owned()]), "{}", report.text);
        assert!(report.text.contains(&format!("chmod 600 {}", path.display())) || on_postgres().is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn an_older_schema_is_a_warning_and_a_newer_one_fails() {
    let database = Database::new().await;
    database.migrate_to(3).await;
    let private = |database: &Database| {
        for entry in fs::read_dir(database.folder.path()).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    private(&database);
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (0, vec!["warning schema".to_owned()]), "{}", report.text);
    assert!(report.finding("schema").starts_with("at migration 3, "), "{}", report.text);
    database.sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 3").await;
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (3, vec!["failed schema".to_owned()]), "{}", report.text);
    assert!(report.finding("schema").contains("migration 9999 of this database is not known"), "{}", report.text);
}

#[tokio::test]
async fn faults_in_a_database_fail_with_a_remedy() {
    let database = installation().await;
    for (sql, back, check, said) in [
        (
            "UPDATE users SET status = 'disabled'",
            "UPDATE users SET status = 'active'",
            "admin",
            "countersign user create",
        ),
        (
            "UPDATE users SET last_login_at = 99999999999999",
            "UPDATE users SET last_login_at = NULL",
            "clock",
            "the database knows of 5138-11-16",
        ),
        (
            "UPDATE signing_keys SET kid = 'x' || kid",
            "DELETE FROM signing_keys",
            "signing key",
            "COUNTERSIGN_SECRET_KEY",
        ),
    ] {
        database.sql(sql).await;
        let report = doctor(&database, &[]);
        assert_eq!((report.code, report.not_ok()), (3, vec![format!("failed {check}")]), "{}", report.text);
        assert!(report.finding(check).contains(said), "{}", report.text);
        database.sql(back).await;
        assert_eq!(doctor(&database, &[]).code, 0, "{back}");
    }
}

#[tokio::test]
async fn a_missing_or_wrong_secret_key_fails() {
    let database = installation().await;
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [9; 32]);
    let report = doctor(&database, &[&format!("COUNTERSIGN_SECRET_KEY={key}")]);
    assert_eq!((report.code, report.not_ok()), (3, vec!["failed signing key".to_owned()]), "{}", report.text);
    fs::remove_file(database.folder.path().join("countersign.key")).unwrap();
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (3, vec!["failed signing key".to_owned()]), "{}", report.text);
    assert!(report.finding("signing key").contains("which opens them, is missing"), "{}", report.text);
}

#[tokio::test]
async fn a_missing_or_damaged_database_is_reported_and_not_created() {
    if on_postgres().is_some() {
        return; // the test is about files
    }
    let database = Database::new().await;
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (0, vec!["warning database".to_owned()]), "{}", report.text);
    let database = installation().await;
    let sound = fs::read(database.folder.path().join("countersign.db")).unwrap();
    fs::remove_file(database.folder.path().join("countersign.db")).unwrap();
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (3, vec!["failed database".to_owned()]), "{}", report.text);
    assert!(report.finding("database").contains("is missing, though its key file is there"), "{}", report.text);
    for (content, said) in [(damaged(sound), "is damaged"), ("Dear diary. ".repeat(999).into_bytes(), "not a database")]
    {
        let damaged = database.file("damaged.db");
        fs::write(database.folder.path().join("damaged.db"), content).unwrap();
        fs::set_permissions(database.folder.path().join("damaged.db"), fs::Permissions::from_mode(0o600)).unwrap();
        let report = doctor(&damaged, &[]);
        assert!(report.code == 3 && report.text.contains(said), "{}", report.text);
    }
}

#[tokio::test]
async fn an_unreachable_postgresql_fails() {
    if on_postgres().is_none() {
        return;
    }
    let database = Database::new().await.at("postgres://nobody@127.0.0.1:1/nowhere".into());
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (3, vec!["failed database".to_owned()]), "{}", report.text);
}

#[tokio::test]
async fn addresses_of_several_users_are_reported() {
    let database = installation().await;
    let users = "INSERT INTO users (id, username, email, email_key, roles, status, password_hash, must_change_password,
        created_at, updated_at) SELECT ";
    let ids = ["'a'", "'b'", "'c'"].map(|name| {
        let (id, no) = match crate::support::on_postgres() {
            Some(_) => ("gen_random_uuid()", "FALSE"),
            None => ("randomblob(16)", "0"),
        };
        format!("{users}{id}, {name}, 'Ana@example.com', 'ana@example.com', 'user', 'active', '!', {no}, 1, 1")
    });
    for insert in ids {
        database.sql(&insert).await;
    }
    let report = doctor(&database, &[]);
    assert_eq!((report.code, report.not_ok()), (0, vec!["warning e-mail".to_owned()]), "{}", report.text);
    assert!(report.finding("e-mail").starts_with("1 addresses belong to several users each, such as ana@example.com"));
}

fn settings(database: &Database, flags: &[&str]) -> Settings {
    let key = crate::support::secret_key();
    let args = [&["countersign", "--database-url", &database.url, "--secret-key", &key][..], flags].concat();
    Cli::try_parse_from(args).unwrap().config.settings
}

/// What a doctor whose clock says this finds in a check.
async fn found(settings: &Settings, now: i64, check: &str) -> Finding {
    let findings = examine(&Clock::Manual(Arc::new(AtomicI64::new(now))), settings).await;
    findings.into_iter().find(|finding| finding.check == check).unwrap()
}

#[tokio::test]
async fn a_clock_may_be_five_seconds_behind_what_the_database_knows() {
    if on_postgres().is_some() {
        return; // there, the clock of the server counts first
    }
    let app = App::start().await;
    let (settings, latest) = (settings(&app.database, &[]), app.now_seconds() * 1000);
    for (now, verdict) in [
        (latest - 5001, Verdict::Failed),
        (latest - 5000, Verdict::Ok),
        (latest, Verdict::Ok),
        (latest + 86_400_000, Verdict::Ok),
    ] {
        let finding = found(&settings, now, "clock").await;
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert_eq!(finding.mend.is_some(), verdict == Verdict::Failed, "{finding:?}");
    }
}

#[tokio::test]
async fn a_clock_may_differ_by_five_seconds_from_that_of_postgresql() {
    if on_postgres().is_none() {
        return;
    }
    let database = Database::new().await;
    let app = App::on(database.clone(), &[]).await;
    let settings = settings(&app.database, &[]);
    let server = async || {
        let text =
            database.text("SELECT CAST(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS TEXT)").await;
        text.parse::<i64>().unwrap()
    };
    for (ahead, verdict) in
        [(-60_000, Verdict::Failed), (-7000, Verdict::Failed), (0, Verdict::Ok), (7000, Verdict::Failed)]
    {
        let finding = found(&settings, server().await + ahead, "clock").await;
        assert_eq!(finding.verdict, verdict, "{ahead}: {finding:?}");
        assert!(verdict == Verdict::Ok || finding.found.contains("where PostgreSQL runs"), "{finding:?}");
    }
}

#[tokio::test]
async fn without_signing_keys_there_is_nothing_to_decrypt() {
    let hs256 = ["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes"];
    let app = App::start_with(&hs256).await;
    let finding = found(&settings(&app.database, &hs256), app.now_seconds() * 1000, "signing key").await;
    assert_eq!(finding.verdict, Verdict::Ok);
    assert!(finding.found.starts_with("there is none to decrypt"), "{finding:?}");
}

#[tokio::test]
async fn the_mail_server_is_tried_if_there_is_one() {
    let database = Database::new().await;
    let finding = found(&settings(&database, &[]), 0, "mail").await;
    assert_eq!((finding.verdict, finding.mend), (Verdict::Ok, None));
    assert!(finding.found.starts_with("there is no mail server"));
    let of = |port: u16| {
        let url = format!("smtp://127.0.0.1:{port}");
        settings(&database, &[&["--smtp-url", &url], &crate::mail::FLAGS[..]].concat())
    };
    let finding = found(&of(free_port()), 0, "mail").await;
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.mend.unwrap().contains("COUNTERSIGN_SMTP_URL"));
    let Some(sink) = crate::mail::Sink::start() else { return };
    let finding = found(&of(sink.port), 0, "mail").await;
    assert_eq!((finding.verdict, finding.mend), (Verdict::Ok, None));
    assert!(finding.found.contains("the mail server answers"), "{}", finding.found);
}

#[tokio::test]
async fn a_server_examines_itself_in_the_background_and_keeps_what_it_found() {
    let app = App::start().await;
    let auth = app.service.auth();
    let before = auth.examination();
    assert!(!before.is_running && before.ended_at.is_none() && before.findings.is_empty());
    for minute in [1, 2] {
        app.advance_clock(std::time::Duration::from_secs(60));
        auth.begin_examination();
        // One at a time.
        auth.begin_examination();
        assert!(auth.examination().is_running);
        while auth.examination().is_running {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let examination = auth.examination();
        assert_eq!(examination.ended_at.unwrap().to_string(), format!("2026-01-01T00:0{minute}:00.000Z"));
        let of = |check| examination.findings.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(
            (of("admin").verdict, of("signing key").verdict, of("schema").verdict),
            (Verdict::Ok, Verdict::Ok, Verdict::Ok)
        );
        assert!(of("signing key").found.starts_with("all 1 can be decrypted"), "{:?}", of("signing key"));
    }
}

#[tokio::test]
async fn a_migration_says_what_it_found_and_did() {
    let database = Database::new().await;
    let settings = settings(&database, &[]);
    let last =
        std::fs::read_dir("migrations").unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    let last = i64::try_from(last).ok();
    let clock = countersign::model::Clock::System;
    let first = countersign::auth::migrate(&clock, &settings).await.unwrap();
    assert_eq!((first.before, first.now), (None, last));
    let again = countersign::auth::migrate(&clock, &settings).await.unwrap();
    assert_eq!((again.before, again.now, again.key_file), (last, last, None));
}
