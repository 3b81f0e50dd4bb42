//! `countersign copy`: everything arrives in the other database, or nothing does.

use reqwest::Method;
use serde_json::json;

use super::{Shell, login, me};
use crate::support::{Answer, Database, PASSWORD, Server, bearer};

/// Every row of every table of a SQLite file but the trail of what happened, as text.
async fn rows(database: &Database) -> String {
    let tables = database
        .text(
            r"SELECT group_concat(t.name || ' ' || (SELECT group_concat('quote(' || name || ')', ' || ''|'' || ' ORDER BY name)
            FROM pragma_table_info(t.name)), char(10)) FROM sqlite_schema AS t
            WHERE t.type = 'table' AND t.name NOT LIKE '%migrations' AND t.name NOT LIKE 'audit%' AND t.name NOT LIKE 'sqlite%'",
        )
        .await;
    let mut all = String::new();
    for (table, columns) in tables.lines().map(|line| line.split_once(' ').unwrap()) {
        let sql = format!("SELECT {columns} AS line FROM {table}");
        let sql = format!("SELECT COALESCE(group_concat(line, char(10) ORDER BY line), '') FROM ({sql})");
        all += &format!("{table}\n{}\n", database.text(&sql).await);
    }
    all
}

/// A server whose tokens do not depend on its port.
fn serve(shell: &Shell) -> Server {
    shell.binary().args(&["--public-url", "http://localhost:5000"]).serve()
}

#[tokio::test]
async fn everything_moves_to_another_database_and_back() {
    let home = Database::new().await;
    let (first, third) = (home.file("first.db"), home.file("third.db"));
    let shell = Shell::on(&first);
    shell.create("root", &["user", "admin"]);
    shell.create("sergio", &["user"]);
    let server = serve(&shell);
    let [kept, kept_jwt] = login(&server, "sergio").await;
    let [ended, _] = login(&server, "sergio").await;
    let client = reqwest::Client::new();
    let logout = client.post(format!("{}/logout", server.url())).header("authorization", &ended);
    Answer::of(logout).await.expect(204);
    let issued = client.post(format!("{}/me/tokens", server.url())).header("authorization", &kept);
    let issued = Answer::of(issued.json(&json!({"name": "deploy", "scopes": ["profile"]}))).await.expect(201).json();
    let personal = bearer(issued["token"].as_str().unwrap());
    let link = client.request(Method::POST, format!("{}/admin/users", server.url())).basic_auth("root", Some(PASSWORD));
    Answer::of(link.json(&json!({"username": "invited", "invite": true}))).await;
    assert!(server.stop().success);
    // What a line of text could trip over.
    first
        .sql(
            "UPDATE users SET name = 'a\\b' || char(9, 10, 13) || '\\N' || char(233, 128512) WHERE username = 'sergio'",
        )
        .await;

    let [from, to] = ["--from", "--to"];
    let copy = |of: &Database, into: &Database| Shell::on(of).run(&["copy", from, &of.url, to, &into.url], "");
    let said = copy(&first, &home).unwrap();
    assert!(said.contains("everything is in") && said.contains("hang together there"), "{said}");
    let server = serve(&Shell::on(&home));
    for good in [&kept, &kept_jwt, &personal] {
        assert_eq!(me(&server, good).await.expect(200).json()["user"]["username"], "sergio");
    }
    me(&server, &ended).await.expect(401);
    assert!(server.stop().success);
    let verified = Shell::on(&home).run(&["audit", "verify"], "").unwrap();
    assert!(verified.contains("hang together"), "{verified}");
    let trail = Shell::on(&home).run(&["audit", "list", "--event", "database.copied"], "").unwrap();
    assert!(trail.contains("database.copied") && trail.contains("first.db"), "{trail}");

    // What is in use is not overwritten.
    let refused = copy(&first, &home).unwrap_err();
    assert!(refused.contains("the target is not empty: its table users has rows"), "{refused}");

    copy(&home, &third).unwrap();
    let last_uses = "UPDATE sessions SET last_seen_at = 0; UPDATE personal_tokens SET last_used_at = 0";
    first.sql(last_uses).await;
    third.sql(last_uses).await;
    assert_eq!(rows(&first).await, rows(&third).await);
    let list = |of: &Database| Shell::on(of).run(&["audit", "list", "--json"], "").unwrap();
    assert!(list(&third).ends_with(&list(&first)), "the trail goes on where it was");
}

#[tokio::test]
async fn a_copy_that_fails_leaves_nothing_and_can_be_run_again() {
    let home = Database::new().await;
    let first = home.file("first.db");
    let shell = Shell::on(&first);
    shell.create("root", &["user", "admin"]);
    let copy = || shell.run(&["copy", "--to", &home.url], "");
    // A token of a user who is not there: it is found out when others have been copied already.
    let orphan =
        "PRAGMA foreign_keys = OFF; INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at)
        VALUES (zeroblob(16), zeroblob(16), 'x', zeroblob(32), 'profile', 0)";
    first.sql(orphan).await;
    let why = copy().unwrap_err();
    assert!(why.contains("the target cannot be written"), "{why}");
    assert_eq!(home.text("SELECT CAST(COUNT(*) AS TEXT) FROM users").await, "0");
    first.sql("DELETE FROM personal_tokens").await;
    copy().unwrap();
    assert_eq!(home.text("SELECT username FROM users").await, "root");
}

#[tokio::test]
async fn a_copy_is_refused_before_anything_is_made() {
    let home = Database::new().await;
    let (first, none) = (home.file("first.db"), home.file("none.db"));
    let shell = Shell::on(&first);
    let refused = |args: &[&str]| shell.run(&[&["copy"], args].concat(), "").unwrap_err();
    let why = refused(&["--to", &home.url]);
    assert!(why.contains("there is no database at") && why.contains("first.db"), "{why}");
    first.migrate_to(15).await;
    let why = refused(&["--to", &none.url]);
    assert!(why.contains("run countersign migrate on it first"), "{why}");
    assert!(!std::fs::exists(home.folder.path().join("none.db")).unwrap());
    shell.create("root", &["user", "admin"]);
    assert!(refused(&["--to", "mysql://nowhere"]).starts_with("countersign: --to: not an address of a database"));
    // The secret key has to be the one that opens the signing keys.
    assert!(serve(&shell).stop().success);
    let mut other = shell.binary().env("COUNTERSIGN_SECRET_KEY", &"A".repeat(43)).args(&["copy", "--to", &none.url]);
    let done = other.0.output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!std::fs::exists(home.folder.path().join("none.db")).unwrap());
}
