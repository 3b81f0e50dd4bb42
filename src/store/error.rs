//! What a fault of the database means to whoever asked: "not now", which passes, or a fault of ours, which does not.

use deadpool::unmanaged::PoolError;

use crate::error::Error;

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let is_transient = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            sqlx::Error::Database(fault) => fault.code().is_some_and(|code| is_transient(&code)),
            _ => false,
        };
        if is_transient { Self::Unavailable(error.into()) } else { Self::Internal(error.into()) }
    }
}

/// Whether a database's error code says that it cannot do it now, rather than that the statement was wrong. SQLite gives its
/// extended result code, whose low byte is the kind; PostgreSQL gives a SQLSTATE, whose first two characters are the class.
fn is_transient(code: &str) -> bool {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READ_ONLY: u32 = 8;
    const IO: u32 = 10;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    // Connection exception, transaction rollback, insufficient resources, operator intervention, system error.
    const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    const READ_ONLY_TRANSACTION: &str = "25006";
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    if code.len() == 5 {
        return CLASSES.iter().any(|class| code.starts_with(class))
            || [READ_ONLY_TRANSACTION, LOCK_NOT_AVAILABLE].contains(&code);
    }
    matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(BUSY | LOCKED | READ_ONLY | IO | FULL | CANNOT_OPEN))
}

/// The reason of a fault without sqlx's preamble, for a sentence that names the database already.
pub fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(fault) => fault.message().to_owned(),
        sqlx::Error::Io(fault) => fault.to_string(),
        sqlx::Error::PoolTimedOut => "no answer in time".to_owned(),
        other => other.to_string(),
    }
}
