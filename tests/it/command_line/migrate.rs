//! `countersign migrate`: creating and upgrading the schema.

use super::{Shell, login, me};
use crate::support::{Binary, Database, on_postgres};

/// The number of the newest migration.
fn newest() -> i64 {
    let files = std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|name| name.split('_').next().unwrap().parse().ok()).max().unwrap()
}

#[tokio::test]
async fn migrate_prints_the_migrations_before_and_after() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let newest = newest();
    let made = format!("the schema was made, up to migration {newest}\n");
    assert_eq!(shell.run(&["migrate"], "").unwrap(), made);
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    let up_to_date = format!("the schema is up to date, at migration {newest}\n");
    assert_eq!(shell.run(&["migrate"], "").unwrap(), up_to_date, "beside a server");
    let [opaque, _] = login(&server, "root").await;
    me(&server, &opaque).await.expect(200);
    server.stop();
    assert_eq!(shell.run(&["migrate"], "").unwrap(), up_to_date, "without one");

    let database = Database::new().await;
    database.migrate_to(3).await;
    let brought = format!("the schema was brought from migration 3 to {newest}\n");
    assert_eq!(Shell::on(&database).run(&["migrate"], "").unwrap(), brought);
}

#[tokio::test]
async fn a_newer_or_changed_schema_is_refused_with_its_migration() {
    let changed = if on_postgres().is_some() { "'x'::bytea" } else { "CAST('x' AS BLOB)" };
    for (change, said) in [
        (
            "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1".into(),
            "migration 9999 of this database is not known",
        ),
        (format!("UPDATE _sqlx_migrations SET checksum = {changed}"), "migration 1 of this database is not the one"),
    ] {
        let database = Database::new().await;
        database.migrate_to(3).await;
        database.sql(&change).await;
        let refused = Shell::on(&database).run(&["migrate"], "").unwrap_err();
        assert!(refused.starts_with("countersign: DATABASE_URL: ") && refused.contains(said), "{refused}");
    }
}

#[tokio::test]
async fn only_a_server_and_migrate_make_the_secret_key_and_a_command_says_where_it_looked() {
    if on_postgres().is_some() {
        return; // servers on one PostgreSQL are given their key
    }
    let database = Database::new().await;
    database.migrate_to(i64::MAX).await;
    let run = |args: &[&str]| {
        let done = Binary::new(database.folder.path()).env("DATABASE_URL", &database.url).args(args).output();
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    };
    let key = database.folder.path().join("countersign.key");
    let refused = run(&["user", "disable", "root"]);
    let said =
        format!("COUNTERSIGN_SECRET_KEY: there is no key at {}; bring it back, or make the first", key.display());
    assert!(refused.contains(&said) && !key.exists(), "{refused}");
    let made = run(&["migrate"]);
    assert!(made.contains(&format!("the secret key was made: {}", key.display())) && key.exists(), "{made}");
    assert!(!run(&["migrate"]).contains("key"), "once");
    assert!(run(&["user", "disable", "root"]).contains("there is no user root"));
}

#[tokio::test]
async fn a_command_that_only_reads_changes_no_schema_of_an_earlier_version() {
    let database = Database::new().await;
    database.migrate_to(3).await;
    let shell = Shell::on(&database);
    let refused = shell.run(&["user", "list"], "").unwrap_err();
    assert!(
        refused.contains("is at migration 3, ")
            && refused.contains("run countersign migrate, or do so on a copy of it"),
        "{refused}"
    );
    let migration = "SELECT CAST(MAX(version) AS TEXT) FROM _sqlx_migrations";
    assert_eq!(database.text(migration).await, "3");
}
