//! A separate database for each test.

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex};

use countersign::auth::Auth;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, Executor, Row, SqlSafeStr as _};
use tempfile::TempDir;

/// The URL of the PostgreSQL server, if this run tests PostgreSQL.
pub fn on_postgres() -> Option<String> {
    env::var("COUNTERSIGN_TEST_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// A database, and a folder that is deleted with it.
#[derive(Clone)]
pub struct Database {
    pub url: String,
    pub folder: Arc<TempDir>,
    services: Arc<Mutex<Vec<Auth>>>,
}

impl Database {
    pub async fn new() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let url = match on_postgres() {
            Some(server) => {
                let mut random = [0; 16];
                aws_lc_rs::rand::fill(&mut random).unwrap();
                let name = format!("t_{:032x}", u128::from_le_bytes(random));
                let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
                admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                server.replacen("/postgres?", &format!("/{name}?"), 1)
            }
            _ => format!("sqlite://{}", folder.path().join("countersign.db").display()),
        };
        Self { url, folder, services: Arc::default() }
    }

    /// The SQLite database with this file name in the same folder.
    pub fn file(&self, name: &str) -> Self {
        self.at(format!("sqlite://{}", self.folder.path().join(name).display()))
    }

    /// A database with this URL, and the same folder.
    pub fn at(&self, url: String) -> Self {
        Self { url, folder: self.folder.clone(), services: Arc::default() }
    }

    /// Creates the schema up to this migration.
    pub async fn migrate_to(&self, version: i64) {
        match self.connect().await {
            Connection::Sqlite(mut connection) => {
                let migrator = Migrator::new(Path::new("migrations")).await.unwrap();
                migrator.run_to(version, &mut connection).await.unwrap();
            }
            Connection::Postgres(mut connection) => {
                let migrator = Migrator::new(Path::new("migrations/postgres")).await.unwrap();
                migrator.run_to(version, &mut connection).await.unwrap();
            }
        }
    }

    /// Runs SQL for both stores, not through the service, and lets the services notice.
    pub async fn sql(&self, text: &str) {
        let mut connection = self.connect().await;
        connection.execute(text).await;
        connection.close().await;
        self.poll_other_writers().await;
    }

    /// Makes the services in this process poll for changes of other writers, so that no test has to wait.
    pub async fn poll_other_writers(&self) {
        let services = self.services.lock().unwrap().clone();
        for service in services {
            // If a poll fails, say because the database is locked, the service reads the database instead.
            let _cannot = service.poll_other_writers().await;
        }
    }

    /// Registers a service on this database.
    pub fn serve(&self, service: Auth) {
        self.services.lock().unwrap().push(service);
    }

    /// Queries one text value.
    pub async fn text(&self, text: &str) -> String {
        self.try_text(text).await.unwrap()
    }

    /// As [`Database::text`], of a database that a server may be creating.
    pub async fn try_text(&self, text: &str) -> sqlx::Result<String> {
        let sql = sqlx::AssertSqlSafe(text.to_owned());
        match self.connect().await {
            Connection::Sqlite(mut connection) => connection.fetch_one(sql).await?.try_get(0),
            Connection::Postgres(mut connection) => connection.fetch_one(sql).await?.try_get(0),
        }
    }

    /// What the database has against a query, if anything: it is prepared and not run.
    pub async fn objection_to(&self, query: &str) -> Option<String> {
        let sql = sqlx::AssertSqlSafe(query.to_owned()).into_sql_str();
        let prepared = match self.connect().await {
            Connection::Sqlite(mut connection) => connection.prepare(sql).await.map(drop),
            Connection::Postgres(mut connection) => connection.prepare(sql).await.map(drop),
        };
        prepared.err().map(|error| error.to_string())
    }

    /// Blocks all other writers, as another process could.
    pub async fn hold_writes(&self) -> Lock {
        let mut connection = self.connect().await;
        match &connection {
            Connection::Postgres(_) => connection.execute("BEGIN; LOCK TABLE users, sessions IN EXCLUSIVE MODE").await,
            Connection::Sqlite(_) => connection.execute("BEGIN IMMEDIATE").await,
        }
        Lock(connection)
    }

    /// Blocks all other readers and writers of a SQLite file, as a tool could.
    pub async fn hold_all(&self) -> Lock {
        let mut connection = self.connect().await;
        connection.execute("BEGIN EXCLUSIVE").await;
        Lock(connection)
    }

    async fn connect(&self) -> Connection {
        if self.url.starts_with("postgres:") {
            return Connection::Postgres(sqlx::PgConnection::connect(&self.url).await.unwrap());
        }
        Connection::Sqlite(sqlx::SqliteConnection::connect(&format!("{}?mode=rwc", self.url)).await.unwrap())
    }
}

enum Connection {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Connection {
    async fn execute(&mut self, text: &str) {
        let sql = sqlx::AssertSqlSafe(text.to_owned());
        match self {
            Self::Sqlite(connection) => drop(connection.execute(sqlx::raw_sql(sql)).await.unwrap()),
            Self::Postgres(connection) => drop(connection.execute(sqlx::raw_sql(sql)).await.unwrap()),
        }
    }

    /// Closes the connection now. SQLite then checkpoints and removes its log.
    async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The lock of [`Database::hold_writes`] or [`Database::hold_all`].
pub struct Lock(Connection);

impl Lock {
    pub async fn release(mut self) {
        self.0.execute("COMMIT").await;
    }
}
