//! A database of one's own for each test.

use std::{
    env,
    path::Path,
    sync::{Arc, Mutex},
};

use countersign::auth::Auth;
use sqlx::{Connection as _, Executor, Row, migrate::Migrator};
use tempfile::TempDir;

/// The store this run is about.
pub fn on_postgres() -> Option<String> {
    env::var("COUNTERSIGN_TEST_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// An empty database, and a folder that is removed with it.
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

    /// A database that is this file of the same folder.
    pub fn file(&self, name: &str) -> Self {
        self.at(format!("sqlite://{}", self.folder.path().join(name).display()))
    }

    /// A database elsewhere, with the same folder for what lies beside it.
    pub fn at(&self, url: String) -> Self {
        Self { url, folder: self.folder.clone(), services: Arc::default() }
    }

    /// Makes the schema of an earlier version: that of this migration.
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

    /// Runs SQL that both stores understand, behind the service's back, and waits until it has noticed.
    pub async fn sql(&self, text: &str) {
        let mut connection = self.connect().await;
        connection.execute(text).await;
        connection.close().await;
        self.let_notice().await;
    }

    /// Lets the services on this database in this process notice what others have changed, so that no test waits for it.
    pub async fn let_notice(&self) {
        let services = self.services.lock().unwrap().clone();
        for service in services {
            // One that cannot, say because somebody has the lock, knows nothing, and asks the database.
            let _cannot = service.poll_other_writers().await;
        }
    }

    /// Another service on this database.
    pub fn serve(&self, service: Auth) {
        self.services.lock().unwrap().push(service);
    }

    /// One text value.
    pub async fn text(&self, text: &str) -> String {
        let sql = sqlx::AssertSqlSafe(text.to_owned());
        match self.connect().await {
            Connection::Sqlite(mut connection) => connection.fetch_one(sql).await.unwrap().get(0),
            Connection::Postgres(mut connection) => connection.fetch_one(sql).await.unwrap().get(0),
        }
    }

    /// Keeps everyone else from writing, as another process could.
    pub async fn hold_writes(&self) -> Held {
        let mut connection = self.connect().await;
        match on_postgres() {
            Some(_) => connection.execute("BEGIN; LOCK TABLE users, sessions IN EXCLUSIVE MODE").await,
            None => connection.execute("BEGIN IMMEDIATE").await,
        }
        Held(connection)
    }

    /// Keeps everyone else even from reading a SQLite file, as a tool could.
    pub async fn hold_all(&self) -> Held {
        let mut connection = self.connect().await;
        connection.execute("BEGIN EXCLUSIVE").await;
        Held(connection)
    }

    async fn connect(&self) -> Connection {
        if on_postgres().is_some() {
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

    /// Closes it now, with what SQLite does to its files at the end.
    async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The lock of [`Database::hold_writes`].
pub struct Held(Connection);

impl Held {
    pub async fn release(mut self) {
        self.0.execute("COMMIT").await;
    }
}
