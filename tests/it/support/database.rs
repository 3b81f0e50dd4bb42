//! A database of one's own for each test.

use std::{env, sync::Arc};

use sqlx::{Connection, Executor, Row};
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
}

impl Database {
    pub async fn new() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let url = match on_postgres() {
            Some(server) => {
                let name = format!("t_{}", uuid::Builder::from_random_bytes(random()).into_uuid().simple());
                let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
                admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                server.replacen("/postgres?", &format!("/{name}?"), 1)
            }
            None => format!("sqlite://{}", folder.path().join("countersign.db").display()),
        };
        Self { url, folder }
    }

    /// Runs SQL that both stores understand, behind the service's back.
    pub async fn sql(&self, text: &str) {
        let sql = sqlx::AssertSqlSafe(text.to_owned());
        if on_postgres().is_some() {
            sqlx::PgConnection::connect(&self.url).await.unwrap().execute(sql).await.unwrap();
        } else {
            sqlx::SqliteConnection::connect(&self.url).await.unwrap().execute(sql).await.unwrap();
        }
    }

    /// One text value.
    pub async fn text(&self, text: &str) -> String {
        let sql = sqlx::AssertSqlSafe(text.to_owned());
        if on_postgres().is_some() {
            sqlx::PgConnection::connect(&self.url).await.unwrap().fetch_one(sql).await.unwrap().get(0)
        } else {
            sqlx::SqliteConnection::connect(&self.url).await.unwrap().fetch_one(sql).await.unwrap().get(0)
        }
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
