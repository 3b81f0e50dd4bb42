//! The command line.

mod audit;
mod backup;
mod doctor;
mod export;
mod import;
mod key;
pub mod serve;
mod session;
mod table;
mod token;
mod user;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use clap::CommandFactory;
use serde::Serialize;
use table::cell;

use crate::{
    auth::{self, Auth, Format, Settings},
    config::{Cli, Command, Config, Which},
    error::{CommandError, Error, StartError},
    http,
    model::{Clock, User},
};

/// What came of a command that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked.
    Done,
    /// The same, and something was found that needs a person.
    NeedsPerson,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NeedsPerson => Self::from(3),
        }
    }
}

/// Does what the command says.
pub fn run(cli: &Cli) -> Result<Outcome, CommandError> {
    let config = &cli.config;
    match &cli.command {
        None | Some(Command::Serve) => serve::run(config)?,
        Some(Command::User(command)) => user::run(config, command)?,
        Some(Command::Import(command)) => return import::run(config, command),
        Some(Command::Export(command)) => export::run(config, command)?,
        Some(Command::Token(command)) => token::run(config, command)?,
        Some(Command::Session(command)) => session::run(config, command)?,
        Some(Command::Key(command)) => key::run(config, *command)?,
        Some(Command::Audit(command)) => return audit::run(config, command),
        Some(Command::Doctor { json }) => return doctor::run(config, *json),
        Some(Command::Backup { file }) => backup::run(config, file)?,
        Some(Command::Restore { file }) => backup::restore(config, file)?,
        Some(Command::Migrate) => migrate(config)?,
        Some(Command::Openapi) => print(&http::document())?,
        Some(Command::Completions { shell }) => print(&completions(*shell))?,
    }
    Ok(Outcome::Done)
}

fn migrate(config: &Config) -> Result<(), CommandError> {
    let settings = config.settings()?;
    let (before, now) = run_async(auth::migrate(&settings))??;
    let now = cell(now);
    print(&match before {
        None => format!("the schema was made, up to migration {now}\n"),
        Some(before) if before.to_string() == now => format!("the schema is up to date, at migration {now}\n"),
        Some(before) => format!("the schema was brought from migration {before} to {now}\n"),
    })
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Runs a future to completion.
fn run_async<F: Future>(future: F) -> Result<F::Output, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // What comes back from a thread of the database or of the hashes goes on before anything new is begun.
        .global_queue_interval(1)
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("the runtime cannot be started: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Does something with the service, which may run elsewhere on the same database.
fn beside_servers<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    beside_servers_as(config.settings()?, work)
}

/// The same with these settings.
fn beside_servers_as<T>(
    settings: Settings,
    work: impl AsyncFnOnce(&Auth) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    run_async(async {
        let auth = Auth::start_beside(Clock::System, settings).await?;
        let done = work(&auth).await;
        auth.stop().await;
        auth.sync().map_err(told)?;
        done
    })?
}

/// The user with this username.
async fn find(auth: &Auth, username: &str) -> Result<User, CommandError> {
    match auth.user_named(username).await {
        Err(Error::NotFound) => Err(CommandError(format!("there is no user {username}"))),
        found => found.map_err(told),
    }
}

/// Asks whether everyone is meant, if everyone is, unless that was said.
fn confirm_everyone(which: &Which, what: &str) -> Result<(), CommandError> {
    if !which.everyone || which.yes {
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

/// An error in one sentence for whoever typed the command.
fn told(error: Error) -> CommandError {
    match error {
        Error::Invalid(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{} {}", field.field, field.message)).collect();
            CommandError(fields.join("; "))
        }
        Error::UsernameTaken => CommandError("the username is taken".into()),
        Error::LastAdmin => {
            CommandError("without this user no admin could come in any more; make another one first".into())
        }
        Error::Stale => CommandError("someone has changed the user meanwhile; try again".into()),
        error => error.into(),
    }
}

/// The form that a file's name says it has.
fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()? {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}

/// A value as programs read it, on one line.
fn json_line(value: &impl Serialize) -> Result<String, CommandError> {
    Ok(serde_json::to_string(value).map_err(|error| CommandError(error.to_string()))? + "\n")
}

/// A value as programs read it, and people too.
fn json(value: &impl Serialize) -> Result<String, CommandError> {
    Ok(serde_json::to_string_pretty(value).map_err(|error| CommandError(error.to_string()))? + "\n")
}

/// Writes a page of a list. Tells whether someone reads on: `… | head` has seen enough.
fn print_page(text: &str) -> Result<bool, CommandError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(|error| cannot_print(&error)),
    }
}

fn print(text: &str) -> Result<(), CommandError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| cannot_print(&error))
}

fn cannot_print(error: &std::io::Error) -> CommandError {
    CommandError(format!("cannot write to standard output: {error}"))
}
