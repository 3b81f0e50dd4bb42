//! `countersign backup`: complete, private and consistent, while servers write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;

use super::{Shell, files};
use crate::support::{App, Database, claims_of, on_postgres};

/// The acknowledged sessions, and whether their logout was acknowledged.
type Acknowledged = Arc<Mutex<Vec<(String, bool)>>>;

/// Logs in, and out again every other time, until `stop` is set.
async fn log_in_and_out(app: Arc<App>, acknowledged: Acknowledged, stop: Arc<AtomicBool>) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (opaque, jwt) = app.tokens("root").await;
        let sid = claims_of(jwt.trim_start_matches("Bearer "))["sid"].as_str().unwrap().replace('-', "");
        let at = {
            let mut acknowledged = acknowledged.lock().unwrap();
            acknowledged.push((sid, false));
            acknowledged.len() - 1
        };
        if round % 2 == 0 {
            app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
            acknowledged.lock().unwrap()[at].1 = true;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_writes_has_all_that_was_acknowledged_before_it() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let app = Arc::new(App::start_with(&["--sessions-per-user", "1000"]).await);
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::default()));
    let count = || acknowledged.lock().unwrap().len();
    let writers: Vec<_> =
        (0..4).map(|_| tokio::spawn(log_in_and_out(app.clone(), acknowledged.clone(), stop.clone()))).collect();
    for round in 1..=5 {
        let name = format!("backup-{round}.db");
        while count() < round * 40 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let before = acknowledged.lock().unwrap().clone();
        let database = app.database.clone();
        let backup = name.clone();
        tokio::task::spawn_blocking(move || Shell::on(&database).run(&["backup", &backup], "").unwrap()).await.unwrap();
        assert!(count() > before.len(), "other requests wrote during the backup");
        let backup = app.database.file(&name);
        let kept =
            backup.text("SELECT group_concat(lower(hex(id)) || ':' || (ended_at IS NOT NULL)) FROM sessions").await;
        for (sid, ended) in before {
            let state = kept.split(',').find_map(|row| row.strip_prefix(&format!("{sid}:")));
            assert!(state.is_some(), "a session that was acknowledged is missing");
            assert!(!ended || state == Some("1"), "a logout that was acknowledged is missing");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_is_private_to_its_owner_and_overwrites_no_file() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    let said = shell.run(&["backup", "backup.db"], "").unwrap();
    assert!(said.starts_with("backup.db holds all that was acknowledged until 20"), "{said}");
    let path = database.folder.path().join("backup.db");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(files(&database), ["backup.db", "countersign.db"], "it is a single file");
    let bytes = fs::read(&path).unwrap();
    for (target, said) in
        [("backup.db", "it is there already"), ("nowhere/backup.db", "No such file"), (".", "there already")]
    {
        let refused = shell.run(&["backup", target], "").unwrap_err();
        assert!(
            refused.starts_with(&format!("countersign: {target} cannot be written: ")) && refused.contains(said),
            "{refused}"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(files(&database), ["backup.db", "countersign.db"]);
}

#[tokio::test]
async fn a_failed_backup_leaves_no_files() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let folder = Database::new().await;
    let shell = Shell::on(&folder);
    shell.create("root", &["user", "admin"]);
    let sound = fs::read(folder.folder.path().join("countersign.db")).unwrap();
    let foreign = folder.file("foreign.db");
    foreign.sql("CREATE TABLE users (id INTEGER); INSERT INTO users VALUES (1)").await;
    fs::write(folder.folder.path().join("text.db"), "Dear diary, this is not a database.".repeat(100)).unwrap();
    fs::write(folder.folder.path().join("damaged.db"), damaged(sound)).unwrap();
    let before = files(&folder);
    for (name, said) in [
        ("foreign.db", "it is not a database of Countersign"),
        ("text.db", "file is not a database"),
        ("damaged.db", "malformed"),
        ("missing.db", "unable to open database file"),
    ] {
        let refused = Shell::on(&folder.file(name)).run(&["backup", "backup.db"], "").unwrap_err();
        assert!(refused.starts_with("countersign: DATABASE_URL: ") && refused.contains(said), "{name}: {refused}");
        assert_eq!(files(&folder), before, "{name}");
    }
}

/// The file with a corrupt last page.
pub fn damaged(mut file: Vec<u8>) -> Vec<u8> {
    let from = file.len() - 4096;
    for page in file[from - 20 * 4096..].chunks_mut(4096) {
        page[..64].fill(0xa5);
    }
    file
}

/// SIGINT while the backup waits for a lock.
#[tokio::test]
async fn an_interrupted_backup_leaves_no_files() {
    if on_postgres().is_some() {
        return; // PostgreSQL has its own tools
    }
    let database = Database::new().await;
    database.migrate_to(5).await;
    let held = database.hold_all().await;
    let before = files(&database);
    let mut binary = Shell::on(&database).binary().args(&["backup", "backup.db"]);
    let child = binary.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while files(&database) == before {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(done.stderr).unwrap(), "countersign: interrupted before it was done\n");
    assert_eq!((done.status.code(), files(&database)), (Some(1), before));
    held.release().await;
}

#[tokio::test]
async fn backup_and_restore_refuse_postgresql_and_name_its_tools() {
    let database = Database::new().await;
    let shell = Shell::on(&database.at("postgres://nobody@127.0.0.1:1/nowhere".into()));
    for (args, tool) in [(["backup", "file"], "pg_dump"), (["restore", "file"], "pg_restore")] {
        let refused = shell.run(&args, "").unwrap_err();
        assert!(refused.contains(tool) && refused.contains("docs/operations.md"), "{refused}");
    }
}
