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
    /// The hosts on one of which it is, at least one: the first that takes writes is used.
    pub hosts: Vec<PgConnectOptions>,
    /// A pooler between us and the server gives a connection for one transaction at a time, as PgBouncer does with
    /// `pool_mode = transaction`. Nothing that belongs to a session works there.
    pub has_pooler: bool,
    /// A standby that checks may read from.
    pub replica: Option<PgConnectOptions>,
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
                let (url, has_pooler) = without_ours(url)?;
                let options = |url: String| {
                    let options = PgConnectOptions::from_str(&url).map_err(|_| malformed())?;
                    Ok(options.application_name("countersign"))
                };
                let hosts = each_host(&url).into_iter().map(options).collect::<Result<_, StartError>>()?;
                Ok(Self::Postgres(Box::new(PostgresServer { hosts, has_pooler, replica: None })))
            }
            _ => Err(malformed()),
        }
    }
}

/// Takes out of a URL what is ours and not PostgreSQL's: `pgbouncer=true`, which others write in the same way, and
/// `target_session_attrs`, since only a host that takes writes is of use.
fn without_ours(url: &str) -> Result<(String, bool), StartError> {
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), false)) };
    let (mut has_pooler, mut others) = (false, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("pgbouncer", "true")) => has_pooler = true,
            Some(("pgbouncer", "false") | ("target_session_attrs", "any" | "read-write" | "primary")) => {}
            Some(("pgbouncer", _)) => {
                return Err(StartError::setting("DATABASE_URL", "write pgbouncer=true or leave it out"));
            }
            Some(("target_session_attrs", _)) => {
                let mend =
                    "write target_session_attrs=read-write or leave it out: a server that takes writes is needed";
                return Err(StartError::setting("DATABASE_URL", mend));
            }
            _ => others.push(pair),
        }
    }
    Ok((format!("{address}?{}", others.join("&")), has_pooler))
}

/// The URLs that a URL with several hosts stands for, as libpq understands it: `HOST:PORT,HOST:PORT` where the host is, or in
/// `?host=`.
fn each_host(url: &str) -> Vec<String> {
    let around = |before: &str, hosts: &str, after: &str| {
        hosts.split(',').map(|host| format!("{before}{host}{after}")).collect::<Vec<_>>()
    };
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    if url[start..end].contains(',') {
        return around(&url[..start], &url[start..end], &url[end..]);
    }
    let query = url.find('?').unwrap_or(url.len());
    let Some(start) = ["?host=", "&host="].iter().find_map(|name| url[query..].find(name)) else {
        return vec![url.to_owned()];
    };
    let start = query + start + "?host=".len();
    let end = url[start..].find('&').map_or(url.len(), |at| start + at);
    around(&url[..start], &url[start..end], &url[end..])
}

fn malformed() -> StartError {
    let mend = "not an address of a database; write sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE";
    StartError::setting("DATABASE_URL", mend)
}

impl Location {
    /// The same with a read replica.
    pub fn with_replica(mut self, url: &str) -> Result<Self, StartError> {
        let wrong = |mend| StartError::setting("COUNTERSIGN_DATABASE_READ_URL", mend);
        let Self::Postgres(server) = &mut self else {
            return Err(wrong("SQLite has no replicas; leave it unset, or set DATABASE_URL to that of PostgreSQL"));
        };
        let replica = match url.parse() {
            Ok(Self::Postgres(replica)) if !replica.has_pooler => replica.hosts,
            _ => Vec::new(),
        };
        let Ok([host]) = <[PgConnectOptions; 1]>::try_from(replica) else {
            return Err(wrong("write postgres://USER:PASSWORD@HOST/DATABASE, with one host and no pooler"));
        };
        server.replica = Some(host);
        Ok(self)
    }

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
                let host = |options: &PgConnectOptions| match options.get_socket() {
                    Some(socket) => socket.display().to_string(),
                    None => options.get_host().to_owned(),
                };
                let hosts = server.hosts.iter().map(host).collect::<Vec<_>>().join(" or ");
                let database = server.hosts.first().and_then(PgConnectOptions::get_database);
                write!(f, "PostgreSQL at {hosts}, database {}", database.unwrap_or("of the user"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_several_hosts_stands_for_one_with_each() {
        let hosts = |url| each_host(url);
        assert_eq!(hosts("postgres://a/db"), ["postgres://a/db"]);
        assert_eq!(
            hosts("postgres://u:p,w@a:1,b/db?x=y"),
            ["postgres://u:p,w@a:1/db?x=y", "postgres://u:p,w@b/db?x=y"]
        );
        assert_eq!(
            hosts("postgres:///db?host=/a,/b&user=u"),
            ["postgres:///db?host=/a&user=u", "postgres:///db?host=/b&user=u"]
        );
        assert_eq!(hosts("postgres:///db?user=u&host=/a"), ["postgres:///db?user=u&host=/a"]);
        assert_eq!(hosts("postgres://a,b"), ["postgres://a", "postgres://b"]);
    }

    #[test]
    fn what_postgresql_does_not_know_is_taken_out_of_a_url_or_refused() {
        let url = |query: &str| without_ours(&format!("postgres://a/db?{query}"));
        assert_eq!(url("pgbouncer=true&x=y").unwrap(), ("postgres://a/db?x=y".into(), true));
        assert_eq!(url("target_session_attrs=read-write").unwrap(), ("postgres://a/db?".into(), false));
        for wrong in ["pgbouncer=1", "target_session_attrs=standby"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
