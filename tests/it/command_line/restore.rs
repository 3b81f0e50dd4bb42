//! `countersign restore`: the old state or the new one, and no revoked credential becomes valid again.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use super::backup::damaged;
use super::{Shell, files, login, me};
use crate::sessions::status_lists::{bits, status_ref};
use crate::support::{
    Answer, Binary, Database, PASSWORD, Server, basic, bearer, command, find_program, header_of, on_postgres,
    secret_key,
};

/// Sends a GET request without a credential.
async fn get(server: &Server, path: &str) -> String {
    Answer::of(reqwest::Client::new().get(format!("{}{path}", server.url()))).await.expect(200).text
}

#[tokio::test]
async fn a_restore_ends_every_session_token_and_key_also_on_a_running_server() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    shell.create("sergio", &["user"]);
    let token = |name: &str| {
        bearer(shell.run(&["token", "issue", name, "--name", "x", "--scope", "profile"], "").unwrap().trim())
    };
    let kept = login(&server, "sergio").await;
    let mut tokens = vec![token("root")];
    tokens.extend(kept.clone());
    tokens.extend(login(&server, "root").await);
    shell.run(&["backup", "backup.db"], "").unwrap();

    // Revoked after the backup: these must stay revoked.
    shell.run(&["token", "revoke", "--yes", "--all", "root"], "").unwrap();
    shell.run(&["session", "end", "--yes", "--all", "root"], "").unwrap();
    // Created after the backup: these must be unknown after the restore.
    shell.create("zoe", &["user", "admin"]);
    let since = login(&server, "zoe").await;
    tokens.extend([since.to_vec(), login(&server, "sergio").await.to_vec(), vec![token("sergio")]].concat());
    let keys = get(&server, "/.well-known/jwks.json").await;
    let list = get(&server, &status_ref(&kept[1]).0).await;

    let said = shell.run(&["restore", "--yes", "backup.db"], "").unwrap();
    let (said, copy) = said.split_once('\n').unwrap();
    assert_eq!(
        said,
        "backup.db was restored; every session, personal token and signing key has ended, so everyone logs in again"
    );
    let copy = Path::new(copy.strip_suffix(" holds what was there before\n").unwrap());
    let copy = copy.file_name().unwrap().to_str().unwrap();
    assert_eq!(files(&database), ["backup.db", copy, "countersign.db"]);
    assert!(
        Shell::on(&database.file(copy)).run(&["user", "list"], "").unwrap().contains("zoe"),
        "what was there before"
    );
    assert!(!shell.run(&["user", "list"], "").unwrap().contains("zoe"));
    for token in &tokens {
        me(&server, token).await.expect(401);
    }
    me(&server, &basic("zoe", PASSWORD)).await.expect(401);
    me(&server, &basic("root", PASSWORD)).await.expect(200);
    for table in ["personal_tokens", "idempotency_keys", "one_time_secrets"] {
        assert_eq!(database.text(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await, "0", "{table}");
    }

    // The server creates a key by itself, and offline verification sees the key and the revocations.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut new_keys = keys.clone();
    while new_keys == keys || new_keys == r#"{"keys":[]}"# {
        assert!(tokio::time::Instant::now() < deadline, "no new key");
        tokio::time::sleep(Duration::from_millis(50)).await;
        new_keys = get(&server, "/.well-known/jwks.json").await;
    }
    let new_keys: serde_json::Value = serde_json::from_str(&new_keys).unwrap();
    assert_eq!(new_keys["keys"].as_array().unwrap().len(), 1, "the old key is deleted: {new_keys}");
    let (path, idx) = status_ref(&kept[1]);
    let new_list = get(&server, &path).await;
    assert!(bits(&list)[idx / 8] >> (idx % 8) & 1 == 0 && bits(&new_list)[idx / 8] >> (idx % 8) & 1 == 1);
    assert_eq!(header_of(&new_list)["kid"], new_keys["keys"][0]["kid"]);
    let again = login(&server, "sergio").await;
    for token in &again {
        me(&server, token).await.expect(200);
    }

    assert_eq!(shell.end(&["audit", "verify"], "").code, 0);
    let event = shell.run(&["audit", "list", "--event", "database.restored", "--json"], "").unwrap();
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    assert_eq!((&event["method"], &event["target"]), (&json!("command"), &json!("backup.db")));
}

#[tokio::test]
async fn a_restore_asks_first_and_says_what_is_replaced_by_what() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    shell.run(&["backup", "backup.db"], "").unwrap();
    shell.create("zoe", &["user"]);
    let said = shell.run(&["restore", "backup.db"], "y\n").unwrap_err();
    let (replaced, rest) = said.split_once(" by backup.db (").unwrap();
    assert!(
        replaced.starts_with("countersign: This replaces all that is in ")
            && replaced.contains("(2 users, last changed at 20")
    );
    assert!(rest.starts_with("1 user, last changed at 20") && rest.ends_with(" Say --yes if you mean it\n"), "{rest}");
    assert!(shell.run(&["user", "list"], "").unwrap().contains("zoe"), "nothing was changed");
    assert_eq!(files(&database), ["backup.db", "countersign.db"]);
}

#[tokio::test]
async fn a_backup_can_be_looked_into_without_the_key_and_stays_as_it_is() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    shell.run(&["token", "issue", "root", "--name", "script", "--scope", "profile"], "").unwrap();
    shell.run(&["backup", "backup.db"], "").unwrap();
    let backup = database.folder.path().join("backup.db");
    let (before, files_before) = (fs::read(&backup).unwrap(), files(&database));
    let look = |args: &[&str]| {
        // Elsewhere, so that no key lies beside it.
        let mut binary = Binary::new(database.folder.path()).env("DATABASE_URL", "sqlite://backup.db").args(args);
        let done = binary.0.output().unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code().unwrap(), said)
    };
    for (args, found) in [
        (vec!["user", "list"], "root"),
        (vec!["user", "show", "root"], "admin"),
        (vec!["session", "list", "root"], "CREATED"),
        (vec!["token", "list", "root"], "script"),
        (vec!["audit", "list"], "user.created"),
        (vec!["block", "list"], "ACCOUNT"),
    ] {
        let (code, said) = look(&args);
        assert!(code == 0 && said.contains(found), "{args:?}: {said}");
    }
    let (code, said) = look(&["user", "disable", "root"]);
    assert!(code == 1 && said.contains("COUNTERSIGN_SECRET_KEY: there is no key at "), "{said}");
    assert_eq!((fs::read(&backup).unwrap(), files(&database)), (before, files_before), "not a byte has changed");
    assert!(!database.folder.path().join("backup.key").exists());
}

/// Runs the commands of the guide as written.
#[tokio::test]
async fn the_postgresql_procedure_of_the_guide_revives_no_credential() {
    if on_postgres().is_none() || ["pg_dump", "pg_restore", "psql"].iter().any(|tool| find_program(tool).is_none()) {
        return;
    }
    let guide = fs::read_to_string("docs/operations.md").unwrap();
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let run = |tool: &str| {
        let blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
        let mut command = command("bash");
        let (binary, key) = (Path::new(env!("CARGO_BIN_EXE_countersign")), secret_key());
        let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.args(["-euc", blocks.clone().find(|block| block.contains(tool)).unwrap()]).env("PATH", path);
        command
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_SECRET_KEY", key)
            .current_dir(database.folder.path());
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    let mut tokens = login(&server, "root").await.to_vec();
    tokens
        .push(bearer(shell.run(&["token", "issue", "root", "--name", "x", "--scope", "profile"], "").unwrap().trim()));
    run("pg_dump");
    shell.run(&["token", "revoke", "--yes", "--all", "root"], "").unwrap();
    shell.run(&["session", "end", "--yes", "--all", "root"], "").unwrap();
    tokens.extend(login(&server, "root").await);
    let keys = get(&server, "/.well-known/jwks.json").await;
    server.stop();
    run("pg_restore");
    let server = shell.serve();
    for token in &tokens {
        me(&server, token).await.expect(401);
    }
    assert_ne!(get(&server, "/.well-known/jwks.json").await, keys);
    me(&server, &basic("root", PASSWORD)).await.expect(200);
    assert_eq!(shell.end(&["audit", "verify"], "").code, 0);
}

/// Servers cache signed lists by version, so no version may be used for another state.
#[tokio::test]
async fn no_status_list_version_is_reused_after_a_restore() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    let [_, jwt] = login(&server, "root").await;
    shell.run(&["backup", "backup.db"], "").unwrap();
    login(&server, "root").await;
    for _ in 0..3 {
        let [opaque, _] = login(&server, "root").await;
        let id = me(&server, &opaque).await.json()["session_id"].as_str().unwrap().to_owned();
        shell.run(&["session", "end", "--yes", &id], "").unwrap();
        get(&server, &status_ref(&jwt).0).await;
    }
    let version = async || database.text("SELECT CAST(MAX(version) AS TEXT) FROM status_lists").await;
    let before: i64 = version().await.parse().unwrap();
    shell.run(&["restore", "--yes", "backup.db"], "").unwrap();
    assert!(version().await.parse::<i64>().unwrap() > before);
}

#[tokio::test]
async fn a_restore_creates_a_missing_database_and_migrates_an_older_backup() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let folder = Database::new().await;
    folder.file("old.db").migrate_to(3).await;
    let user =
        "INSERT INTO users (id, username, roles, status, password_hash, must_change_password, created_at, updated_at)
                VALUES (randomblob(16), 'ancient', 'admin user', 'active', 'x', 0, 1, 1)";
    folder.file("old.db").sql(user).await;
    let new = folder.file("new.db");
    let shell = Shell::on(&new);
    shell.run(&["restore", "--yes", "old.db"], "").unwrap();
    assert_eq!(files(&folder), ["new.db", "old.db"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folder.folder.path().join("new.db")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert!(shell.run(&["user", "list"], "").unwrap().contains("ancient"));
    assert!(shell.run(&["migrate"], "").unwrap().contains("is up to date"));
    // Users of whom no record tells: as if the trail had been emptied.
    let said = "record 1 was changed or is missing; the 0 before it hang together\n";
    assert_eq!(shell.end(&["audit", "verify"], "").stdout, said);
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    login(&server, "root").await;
}

/// The steps of the guide for Debian, where installing the package starts a server.
#[tokio::test]
async fn a_backup_and_its_key_move_to_a_machine_where_a_server_has_begun_with_a_key_of_its_own() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let begin = |folder: &TempDir| {
        let binary = Binary::new(folder.path()).env("COUNTERSIGN_ADMIN_USERNAME", "root");
        assert!(binary.env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD).serve().stop().success);
    };
    let run = |folder: &TempDir, args: &[&str]| Binary::new(folder.path()).args(args).output();
    begin(&old);
    assert!(run(&old, &["backup", "backup.db"]).status.success());
    begin(&new);
    fs::copy(old.path().join("backup.db"), new.path().join("backup.db")).unwrap();
    let put_key = || fs::copy(old.path().join("countersign.key"), new.path().join("countersign.key")).unwrap();
    put_key();
    let refused = run(&new, &["restore", "backup.db", "--yes"]);
    assert!(!refused.status.success(), "the database there has signing keys under the other key");

    for entry in fs::read_dir(new.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("countersign.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    put_key();
    let restored = run(&new, &["restore", "backup.db", "--yes"]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let server = Binary::new(new.path()).serve();
    login(&server, "root").await;
    let verified = run(&new, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn an_invalid_backup_is_refused_and_the_database_is_unchanged() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    let at = |name: &str| database.folder.path().join(name);
    for copy in ["newer.db", "changed.db", "altered.db", "orphan.db", "good.db"] {
        shell.run(&["backup", copy], "").unwrap();
    }
    fs::write(at("damaged.db"), damaged(fs::read(at("good.db")).unwrap())).unwrap();
    fs::write(at("cut.db"), &fs::read(at("good.db")).unwrap()[..100_000]).unwrap();
    fs::write(at("text.db"), "Dear diary, this is not a database.".repeat(100)).unwrap();
    fs::write(at("empty.db"), "").unwrap();
    fs::write(at("open.db"), fs::read(at("good.db")).unwrap()).unwrap();
    fs::write(at("open.db-wal"), "not yet in the file").unwrap();
    for (name, sql) in [
        ("foreign.db", "CREATE TABLE users (id INTEGER); INSERT INTO users VALUES (1)"),
        ("newer.db", "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2"),
        ("changed.db", "UPDATE _sqlx_migrations SET checksum = CAST('x' AS BLOB) WHERE version = 2"),
        ("altered.db", "ALTER TABLE users ADD COLUMN is_root INTEGER"),
        ("orphan.db", "PRAGMA foreign_keys = OFF; INSERT INTO rotated_tokens VALUES (zeroblob(32), zeroblob(16), 1)"),
    ] {
        database.file(name).sql(sql).await;
    }
    let (before, all) = (fs::read(at("countersign.db")).unwrap(), files(&database));
    for (name, said) in [
        ("damaged.db", "it is damaged or no SQLite database"),
        ("cut.db", "it is damaged or no SQLite database"),
        ("text.db", "file is not a database"),
        ("empty.db", "it is not a database of Countersign"),
        ("foreign.db", "it is not a database of Countersign"),
        ("open.db", "a server has it open"),
        ("newer.db", "migration 9999 of this database is not known"),
        ("changed.db", "migration 2 of this database is not the one"),
        ("orphan.db", "1 rows hang on rows that are missing"),
        ("missing.db", "No such file or directory"),
        ("altered.db", "its tables are not those of the database"),
    ] {
        let refused = shell.run(&["restore", "--yes", name], "").unwrap_err();
        assert!(refused.starts_with(&format!("countersign: {name} cannot be restored: ")), "{refused}");
        assert!(refused.contains(said), "{name}: {refused}");
    }
    assert_eq!(files(&database), all);
    assert_eq!(fs::read(at("countersign.db")).unwrap(), before, "not a byte has changed");
    // A refused backup creates no database either.
    assert!(Shell::on(&database.file("none.db")).run(&["restore", "--yes", "text.db"], "").is_err());
    assert_eq!(files(&database), all);
    // A restore does not wait for ever for another writer.
    let held = database.hold_writes().await;
    assert!(shell.run(&["restore", "--yes", "good.db"], "").unwrap_err().contains("database is locked"));
    held.release().await;
    assert_eq!((files(&database), shell.run(&["restore", "--yes", "good.db"], "").is_ok()), (all, true));
}

/// The secret key is not in a backup, so that a restore elsewhere, or after the key was lost, has another one.
#[tokio::test]
async fn a_trail_from_under_another_key_goes_on_under_ours_and_says_from_where() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    shell.run(&["backup", "backup.db"], "").unwrap();
    let elsewhere = Shell::on(&database.file("elsewhere.db"));
    let with_another_key = |args: &[&str]| {
        let mut binary = elsewhere.binary().env("COUNTERSIGN_SECRET_KEY", &STANDARD.encode([8; 32])).args(args);
        let done = binary.0.output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(with_another_key(&["restore", "--yes", "backup.db"]).0, 0);
    let (code, said, _) = with_another_key(&["audit", "verify"]);
    let expected = "4 records hang together, from the first to the last; the first 2 are from before the trail had this key, \
                    and unchanged since\n";
    assert_eq!((code, said.as_str()), (0, expected));
    // Without a signing key that only the right key opens, the trail itself shows that a key is not the one of the others.
    let refused = elsewhere.run(&["audit", "verify"], "").unwrap_err();
    assert!(
        refused.contains("COUNTERSIGN_SECRET_KEY: the audit trail in the database is under another key"),
        "{refused}"
    );
}

/// PostgreSQL's own tools restore no trail, but bring a database to another secret key.
#[tokio::test]
async fn audit_seal_lets_a_trail_go_on_under_another_key_unless_the_database_has_keys_under_this_one() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.serve().stop();
    assert!(shell.run(&["audit", "seal", "--yes"], "").unwrap_err().contains("has signing keys under this secret key"));
    database.sql("DELETE FROM signing_keys").await;
    let with_another_key = |args: &[&str]| {
        let mut binary = shell.binary().env("COUNTERSIGN_SECRET_KEY", &STANDARD.encode([8; 32])).args(args);
        let done = binary.0.output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    assert!(with_another_key(&["audit", "verify"]).2.contains("give the one that the other servers of it have"));
    assert_eq!(with_another_key(&["audit", "seal", "--yes"]).0, 0);
    let (code, said, _) = with_another_key(&["audit", "verify"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("from before the trail had this key"), "{said}");
}

/// The files list their tables, so a restore also copies new ones. A person must decide whether a new table has
/// credentials that a restore has to end, like sessions, tokens and keys (`auth/operations/backup.rs`).
#[tokio::test]
async fn every_table_is_classified_for_restore() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    Shell::on(&database).run(&["migrate"], "").unwrap();
    let tables = "SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema
                  WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> '_sqlx_migrations'";
    let restored =
        ["audit", "audit_head", "audit_start", "blocks", "known_networks", "status_lists", "revoked_statuses", "users"];
    let restored_and_ended = ["rotated_tokens", "sessions"];
    let emptied = ["idempotency_keys", "one_time_secrets", "outbox", "personal_tokens", "signing_keys"];
    let mut known = [&restored[..], &restored_and_ended, &emptied].concat();
    known.sort_unstable();
    assert_eq!(database.text(tables).await, known.join(" "));
}

/// Inserts 20,000 users with this prefix.
async fn fill(database: &Database, name: &str) {
    let users = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO users (id, username, roles, status, password_hash, must_change_password, created_at, updated_at)
        SELECT randomblob(16), '{name}-' || i, 'user', 'active', '{}', 0, 1, 1 FROM n",
        "x".repeat(90)
    );
    database.sql(&users).await;
}

#[tokio::test]
async fn a_killed_restore_leaves_the_old_or_the_new_state() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    for name in ["old", "new"] {
        let source = database.file(&format!("{name}-source.db"));
        Shell::on(&source).create("root", &["user", "admin"]);
        fill(&source, name).await;
        Shell::on(&source).run(&["backup", &format!("{name}.db")], "").unwrap();
    }
    let begun = std::time::Instant::now();
    shell.run(&["restore", "--yes", "old.db"], "").unwrap();
    let whole = begun.elapsed();
    let count = async |name: &str| {
        let sql = format!("SELECT CAST(COUNT(*) AS TEXT) FROM users WHERE username LIKE '{name}-%'");
        database.text(&sql).await
    };
    let (mut now, mut killed) = ("old", 0);
    for round in 0..40 {
        let other = if now == "old" { "new" } else { "old" };
        let mut binary = shell.binary().args(&["restore", "--yes", &format!("{other}.db")]);
        let mut child = binary.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * round / 32);
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let counts = (count("old").await, count("new").await);
        assert!(counts == ("20000".into(), "0".into()) || counts == ("0".into(), "20000".into()), "{counts:?}");
        now = if counts.0 == "0" { "new" } else { "old" };
        assert_eq!(database.text("PRAGMA integrity_check").await, "ok");
        assert_eq!(shell.end(&["audit", "verify"], "").code, 0, "round {round}");
    }
    assert!(killed >= 20, "it was killed before its end: {killed}");
}
