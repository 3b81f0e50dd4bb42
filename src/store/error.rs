//! What a fault of the database means to whoever asked: "not now", which passes, or a fault of ours, which does not.

use deadpool::unmanaged::PoolError;

use crate::error::Error;

/// The index that keeps verified addresses unique.
const VERIFIED_EMAIL: &str = "users_by_verified_email";

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // Two users who verify one address at the same moment, each of whom has looked before.
        if error.as_database_error().and_then(sqlx::error::DatabaseError::constraint) == Some(VERIFIED_EMAIL) {
            return Self::EmailTaken;
        }
        let is_transient = match &error {
            // A line that is cut while sqlx asks for TLS is to it an answer that it does not know.
            sqlx::Error::Protocol(_)
            | sqlx::Error::Io(_)
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
    const IDLE_IN_TRANSACTION: &str = "25P03";
    const TRANSACTION_TIMEOUT: &str = "25P04";
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    if code.len() == 5 {
        return CLASSES.iter().any(|class| code.starts_with(class))
            || [READ_ONLY_TRANSACTION, IDLE_IN_TRANSACTION, TRANSACTION_TIMEOUT, LOCK_NOT_AVAILABLE].contains(&code);
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

#[cfg(test)]
mod tests {
    use super::is_transient;
    use crate::error::Error;

    #[test]
    fn a_line_that_is_cut_while_it_is_opened_is_not_taken_for_a_fault_of_ours() {
        let cut = sqlx::Error::Protocol("unexpected response from SSLRequest: 0x00".into());
        assert!(matches!(Error::from(cut), Error::Unavailable(_)));
    }

    #[test]
    fn what_passes_is_not_taken_for_a_fault_of_ours() {
        // Terminated by an administrator, shutting down, starting, too many connections, disk full, no memory, lost connection,
        // deadlock, serialization, read-only, ended while idle in a transaction, lock not available, busy, full, read-only file.
        let passing = [
            "57P01", "57P02", "57P03", "57014", "53300", "53100", "53200", "08006", "08003", "40P01", "40001", "25006",
            "25P03", "25P04", "55P03", "5", "13", "8", "1032", "778",
        ];
        for code in passing {
            assert!(is_transient(code), "{code}");
        }
        for code in ["23505", "42P01", "42601", "25P02", "22001", "1", "19", "2067"] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
