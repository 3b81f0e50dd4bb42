//! The commands and what they take. Passwords and tokens are never among it: other users of the machine can read
//! arguments.

mod users;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;

pub use self::users::{BlockCommand, MailCommand, SessionCommand, Sure, TokenCommand, UserCommand, Which};
use crate::config::values::{lifetime, secret};
use crate::model::{Conflict, Event, Format, Timestamp};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or Ctrl-C (also without a command)
    Serve,
    /// Create, find and change users
    #[command(subcommand)]
    User(UserCommand),
    /// Take users in from a file, with the hashes of their passwords as their source wrote them
    Import(ImportCommand),
    /// Write all users to a file, with the hashes of their passwords, in the form that an import takes
    Export(ExportCommand),
    /// See whether mail arrives
    #[command(subcommand)]
    Mail(MailCommand),
    /// See, issue and revoke personal access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// See and end sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// See which addresses may try no more passwords for now, and lift that
    #[command(subcommand)]
    Block(BlockCommand),
    /// Show the signing keys, or turn them over
    #[command(subcommand)]
    Key(KeyCommand),
    /// Read the audit trail, or follow its chain
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look at the settings, files and database, and change nothing; the exit code is 3 when a check failed
    Doctor {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Ask the server with these settings on this machine whether it is ready; the exit code is 1 when it is not
    Health,
    /// Write all that the SQLite database holds to a new file, while servers go on
    Backup {
        /// The file, which must not be there yet
        file: PathBuf,
    },
    /// Put a backup in the place of all that the SQLite database holds; everyone has to log in again
    Restore {
        /// The backup
        file: PathBuf,
        /// Whether it was confirmed
        #[command(flatten)]
        sure: Sure,
    },
    /// Move everything to another, empty database, such as from SQLite to PostgreSQL; servers are stopped
    Copy(CopyCommand),
    /// Bring the schema of the database up to date, as a server does at its start
    Migrate,
    /// Print the API document
    Openapi,
    /// Print the reference of all settings
    Settings {
        /// As `.env.example` or as a page
        #[arg(long, default_value = "env")]
        format: ReferenceFormat,
    },
    /// Write the man pages, one for each command, into a folder
    Man {
        /// The folder, which must be there
        folder: PathBuf,
    },
    /// Print a script that completes commands and flags in this shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How to take users in. Rows are written in batches; an import that is interrupted leaves whole ones and can be run again.
#[derive(Clone, Debug, Args)]
pub struct ImportCommand {
    /// CSV with a header line, or a JSON object a line; - is standard input
    pub file: PathBuf,
    /// Its form [default: by its ending, or else by its first character]
    #[arg(long)]
    pub format: Option<Format>,
    /// What to do about usernames that somebody has
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub on_conflict: Conflict,
    /// Do everything but keep it
    #[arg(long)]
    pub dry_run: bool,
    /// Invite whom a row names without a password, and write the links to this new file, which only its owner may read
    #[arg(long, value_name = "FILE")]
    pub invite: Option<PathBuf>,
    /// With --invite: send the links by mail, and write those of users without an e-mail address to the file
    #[arg(long, requires = "invite")]
    pub deliver: bool,
    /// Write what became of each row to this file, as a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print what became of each row, as a JSON object a line, and then the summary
    #[arg(long)]
    pub json: bool,
}

/// How to write users out.
#[derive(Clone, Debug, Args)]
pub struct ExportCommand {
    /// A new file; without one, standard output
    pub file: Option<PathBuf>,
    /// Its form [default: by its ending, or else ndjson]
    #[arg(long)]
    pub format: Option<Format>,
}

/// From where to where. A copy that is interrupted leaves nothing and can be run again.
#[derive(Clone, Debug, Args)]
pub struct CopyCommand {
    /// Where everything is, such as `sqlite://countersign.db` [default: `DATABASE_URL`]
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub from: Option<SecretString>,
    /// The empty database; a password for PostgreSQL is better in PGPASSWORD, since others can read arguments
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub to: SecretString,
}

/// What to do with the signing keys. It works beside a running server, which learns of it within seconds.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum KeyCommand {
    /// Show which keys sign and verify
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Make the next key, which is public at once and signs eleven minutes later
    Rotate,
    /// End all keys, such as after one has leaked: every JWT is refused within seconds, and servers make a new key
    Revoke(Sure),
}

/// What to do with the audit trail.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// List what happened, the newest first
    List {
        /// Only what this user did, or what was done to them
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Only this, such as login.failed
        #[arg(long)]
        event: Option<Event>,
        /// Only the last 24h or 7d, or not before a moment as in RFC 3339: 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<Since>,
        /// At most so many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<NonZeroU64>,
        /// As JSON, an object a line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Follow the chain of records from the first to the last; the exit code is 3 when it is broken
    Verify {
        /// A record that was noted elsewhere: its number and hash, with a colon between
        #[arg(long, value_name = "NUMBER:HASH", value_parser = record_hash)]
        expect: Option<(i64, String)>,
    },
    /// Let the trail of a database that comes from under another secret key go on under this one; servers are stopped
    Seal(Sure),
}

fn record_hash(text: &str) -> Result<(i64, String), &'static str> {
    let mend = "must be the number and the hash of a record, such as 42:9f86d081…, as audit list --json shows them";
    let (number, hash) = text.split_once(':').ok_or(mend)?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().ok().filter(|number| *number > 0 && is_hash).ok_or(mend)?;
    Ok((number, hash.to_ascii_lowercase()))
}

/// From when on.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    /// Not before this moment.
    At(Timestamp),
    /// Not longer ago.
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, &'static str> {
    let mend = "must be so long ago, such as 24h or 7d, or a time as in RFC 3339, such as 2026-01-31T12:00:00Z";
    text.parse().map(Since::At).or_else(|_| lifetime(text).map(Since::Ago)).map_err(|_| mend)
}

/// The form of the reference of settings.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ReferenceFormat {
    /// `.env.example`.
    Env,
    /// A page for people.
    Markdown,
}
