//! Where the data is, from `DATABASE_URL`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::error::StartError;

/// Where the data is. It prints without the password.
#[derive(Clone)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PostgresServer>),
}

/// How to reach a PostgreSQL server.
#[derive(Clone)]
pub struct PostgresServer {
    pub options: PgConnectOptions,
    /// A pooler between us and the server gives a connection for one transaction at a time, as PgBouncer does with
    /// `pool_mode = transaction`. Nothing that belongs to a session works there.
    pub has_pooler: bool,
}

impl FromStr for Location {
    type Err = StartError;

    fn from_str(url: &str) -> Result<Self, StartError> {
        match url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url).map_err(|_| malformed())?;
                let path = options.get_filename();
                let name = path.to_string_lossy();
                // Each connection would get a database of its own.
                if name.is_empty() || name.contains(":memory:") || name.starts_with("file:sqlx-in-memory") {
                    return Err(StartError::setting(
                        "DATABASE_URL",
                        "an in-memory database cannot hold users; name a file, such as sqlite://countersign.db",
                    ));
                }
                // An absolute path, because the welcome at the start tells where the data is.
                Ok(Self::Sqlite(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())))
            }
            "postgres" | "postgresql" => {
                let (url, has_pooler) = without_pooler(url)?;
                let options = PgConnectOptions::from_str(&url).map_err(|_| malformed())?;
                let options = options.application_name("countersign");
                Ok(Self::Postgres(Box::new(PostgresServer { options, has_pooler })))
            }
            _ => Err(malformed()),
        }
    }
}

/// Takes `pgbouncer=true` out of a URL: it is ours, not PostgreSQL's. Others write it in the same way.
fn without_pooler(url: &str) -> Result<(String, bool), StartError> {
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), false)) };
    let (ours, others): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| pair.starts_with("pgbouncer="));
    let has_pooler = match ours.as_slice() {
        [] | ["pgbouncer=false"] => false,
        ["pgbouncer=true"] => true,
        _ => return Err(StartError::setting("DATABASE_URL", "write pgbouncer=true or leave it out")),
    };
    Ok((format!("{address}?{}", others.join("&")), has_pooler))
}

fn malformed() -> StartError {
    let mend = "not an address of a database; write sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE";
    StartError::setting("DATABASE_URL", mend)
}

impl Location {
    /// The files that hold the data. PostgreSQL keeps its own elsewhere.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Sqlite(path) => ["", "-wal", "-shm"].map(|end| with_suffix(path, end)).into(),
            Self::Postgres(_) => Vec::new(),
        }
    }

    /// The file of the secret key, unless the key is a setting: beside the SQLite file, or in the current folder.
    pub fn key_file(&self) -> PathBuf {
        match self {
            Self::Sqlite(path) => path.with_extension("key"),
            Self::Postgres(_) => PathBuf::from("countersign.key"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(server) => {
                let options = &server.options;
                let host = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
                write!(f, "PostgreSQL at {host}, database {}", options.get_database().unwrap_or("of the user"))
            }
        }
    }
}

/// The path of a file beside this one, whose name begins like it: `countersign.db` and `-wal` give `countersign.db-wal`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
