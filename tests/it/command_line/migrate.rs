//! `countersign migrate`: creating and upgrading the schema.

use super::{Shell, login, me};
use crate::support::{Database, on_postgres};

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
