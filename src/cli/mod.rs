//! The command line: one module per command.

mod audit;
mod backup;
mod block;
mod copy;
mod doctor;
mod health;
mod key;
mod mail;
pub mod serve;
mod session;
pub mod table;
mod token;
mod user;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use table::cell;

use crate::auth::{self, Auth, Durability, Migrated};
use crate::config::{self, Cli, Command, Config, Sure, Which};
use crate::error::{CommandError, Error, StartError};
use crate::http;
use crate::model::{Clock, Format, User};

/// The outcome of a command that ran; it determines the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command did what was asked. Exit code 0.
    Done,
    /// As [`Outcome::Done`], but it found something that needs a person. Exit code 3.
    NeedsAttention,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NeedsAttention => Self::from(3),
        }
    }
}

/// Runs the command, `serve` by default.
pub fn run(cli: &Cli) -> Result<Outcome, CommandError> {
    let config = &cli.config;
    match &cli.command {
        None | Some(Command::Serve) => serve::run(config)?,
        Some(Command::User(command)) => user::run(config, command)?,
        Some(Command::Import(command)) => return user::import::run(config, command),
        Some(Command::Export(command)) => user::export::run(config, command)?,
        Some(Command::Mail(command)) => mail::run(config, command)?,
        Some(Command::Token(command)) => token::run(config, command)?,
        Some(Command::Session(command)) => session::run(config, command)?,
        Some(Command::Block(command)) => block::run(config, *command)?,
        Some(Command::Key(command)) => key::run(config, *command)?,
        Some(Command::Audit(command)) => return audit::run(config, command),
        Some(Command::Doctor { json }) => return doctor::run(config, *json),
        Some(Command::Health) => health::run(config)?,
        Some(Command::Backup { file }) => backup::run(config, file)?,
        Some(Command::Restore { file, sure }) => backup::restore(config, file, *sure)?,
        Some(Command::Copy(command)) => return copy::run(config, command),
        Some(Command::Migrate) => migrate(config)?,
        Some(Command::Openapi) => print(&http::document())?,
        Some(Command::Settings { format }) => print(&config::reference(*format))?,
        Some(Command::Man { folder }) => write_man_pages(folder)?,
        Some(Command::Completions { shell }) => print(&completions(*shell))?,
    }
    Ok(Outcome::Done)
}

fn migrate(config: &Config) -> Result<(), CommandError> {
    let Migrated { before, now, key_file } = block_on(auth::migrate(&Clock::System, &config.settings))??;
    let now = cell(now);
    let mut said = match before {
        None => format!("the schema was made, up to migration {now}\n"),
        Some(before) if before.to_string() == now => format!("the schema is up to date, at migration {now}\n"),
        Some(before) => format!("the schema was brought from migration {before} to {now}\n"),
    };
    if let Some(file) = key_file {
        said += &format!(
            "the secret key was made: {}; without it the database is of no use, so back up both\n",
            file.display()
        );
    }
    print(&said)
}

fn write_man_pages(folder: &Path) -> Result<(), CommandError> {
    let written = clap_mangen::generate_to(config::command(), folder);
    written.map_err(|error| CommandError(format!("the man pages cannot be written to {}: {error}", folder.display())))
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut config::command(), "countersign", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Runs a future to completion.
fn block_on<F: Future>(future: F) -> Result<F::Output, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Tasks woken by a database or hashing thread enter the global queue; they resume before new work starts.
        .global_queue_interval(1)
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("the runtime cannot be started: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Runs `work` on the service, beside servers that may use the same database.
fn with_auth<T>(config: &Config, work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>) -> Result<T, CommandError> {
    with_durability(config, Durability::EachCommit, work)
}

/// As [`with_auth`], with this durability.
fn with_durability<T>(
    config: &Config,
    durability: Durability,
    work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    run_on(Auth::start_beside(Clock::System, config.settings.clone(), durability), work)
}

/// Runs `work`, which only reads. It needs no secret key, and works on a backup as well.
fn looking<T>(config: &Config, work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>) -> Result<T, CommandError> {
    run_on(Auth::look(Clock::System, config.settings.clone()), work)
}

fn run_on<T>(
    start: impl Future<Output = Result<Auth, StartError>>,
    work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    block_on(async {
        let auth = start.await?;
        let done = work(&auth).await;
        auth.stop().await;
        auth.sync().map_err(explain)?;
        done
    })?
}

/// Finds a user by their username or their id. What looks like an id is one: somebody may have taken the id of another user for
/// their username.
async fn find(auth: &Auth, user: &str) -> Result<User, CommandError> {
    let found = match user.parse() {
        Ok(id) => auth.user(id).await,
        Err(_) => auth.user_named(user).await,
    };
    match found {
        Err(Error::NotFound) => Err(CommandError(format!("there is no user {user}"))),
        found => found.map_err(explain),
    }
}

/// Asks whether these sessions or tokens are meant, unless `--yes` was given.
fn confirm_which(which: &Which, what: &str) -> Result<(), CommandError> {
    let whose = match which {
        Which { id: Some(id), .. } => id.to_string(),
        Which { all: Some(user), .. } => format!("all of {user}"),
        _ => "those of everyone".to_owned(),
    };
    confirm(which.sure, &format!("{what}: {whose}."))
}

/// Asks for confirmation of what cannot be undone, unless `--yes` was given.
fn confirm(Sure { yes }: Sure, what: &str) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CommandError(format!("{what} Say --yes if you mean it")));
    }
    let _closed = write!(std::io::stderr(), "{what} Go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| CommandError(format!("the answer cannot be read: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CommandError("nothing was changed".into())),
    }
}

/// Turns an error into a sentence for the operator.
fn explain(error: Error) -> CommandError {
    match error {
        Error::Invalid(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{} {}", field.field, field.message)).collect();
            CommandError(fields.join("; "))
        }
        Error::UsernameTaken => CommandError("the username is taken".into()),
        Error::LastAdmin => {
            CommandError("without this user no admin could come in any more; make another one first".into())
        }
        Error::MailUnavailable => CommandError("no mail server is set; set COUNTERSIGN_SMTP_URL".into()),
        Error::UserDisabled => CommandError("the user is disabled; enable them first".into()),
        Error::Stale => CommandError("the user was changed in the meantime; try again".into()),
        error => error.into(),
    }
}

/// The format that a file's extension stands for.
fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()? {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}

/// Serializes a value as one line of JSON.
fn json_line(value: &impl Serialize) -> Result<String, CommandError> {
    Ok(serde_json::to_string(value).map_err(|error| CommandError(error.to_string()))? + "\n")
}

/// Serializes a value as indented JSON.
fn json(value: &impl Serialize) -> Result<String, CommandError> {
    Ok(serde_json::to_string_pretty(value).map_err(|error| CommandError(error.to_string()))? + "\n")
}

/// Prints a page of a list. Returns false when the reader has closed the pipe, as `head` does.
fn print_page(text: &str) -> Result<bool, CommandError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(|error| cannot_print(&error)),
    }
}

fn print(text: &str) -> Result<(), CommandError> {
    print_page(text).map(drop)
}

fn cannot_print(error: &std::io::Error) -> CommandError {
    CommandError(format!("cannot write to standard output: {error}"))
}
