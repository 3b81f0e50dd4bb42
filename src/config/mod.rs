//! Every setting: a flag, a variable of the environment, a line in `.env`, and its documentation, from one declaration
//! (`settings.rs`, `people.rs`). `.env.example` and `docs/settings.md` are generated from them (`reference.rs`).
//!
//! Secrets have a type that does not print, and their values are kept out of `--help` and of errors.

mod commands;
mod help;
mod in_force;
mod people;
mod reference;
mod secrets;
mod settings;
mod values;

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use secrecy::ExposeSecret;

pub use self::commands::{
    AuditCommand, BlockCommand, Command, CopyCommand, ExportCommand, ImportCommand, KeyCommand, MailCommand,
    ReferenceFormat, SessionCommand, Since, Sure, TokenCommand, UserCommand, Which,
};
pub use self::help::command;
pub use self::people::{MailSettings, Registration};
pub use self::reference::reference;
pub use self::settings::{Config, GuessingSettings, LogFormat, Settings};
use crate::error::StartError;
use crate::model::nearest;

/// What a command's exit code says; clap itself ends with 2.
const EXIT_CODES: &str =
    "Settings are flags, variables of the environment, or lines of .env: countersign serve --help \
lists them all.

Exit codes: 0 done; 1 not done, and standard error says why in one sentence; 2 not understood; \
3 done, and something was found that needs a person.";

/// The file of settings, in the folder the program is started in.
pub const ENV_FILE: &str = ".env";

/// Users, passwords and tokens in one binary.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, args_override_self = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without a command it serves.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

impl Cli {
    /// Takes an empty value of an optional setting as none, because compose files and `.env` leave a setting out that way, and
    /// fills in the settings that follow others.
    fn completed(mut self) -> Self {
        let Config { settings, first_admin, server, .. } = &mut self.config;
        let pages = [&mut settings.pages.logo, &mut settings.mail.mail_templates];
        for file in [&mut server.tls_cert, &mut server.tls_key].into_iter().chain(pages) {
            file.take_if(|file| file.as_os_str().is_empty());
        }
        settings.tokens.issuer.take_if(|issuer| issuer.is_empty());
        settings.tokens.public_url.take_if(|address| address.is_empty());
        settings.pages.cookie_domain.take_if(|domain| domain.is_empty());
        if settings.tokens.public_url.is_none() && settings.tokens.issuer.is_none() && server.listen.port() != 0 {
            let scheme = if server.tls_cert.is_some() { "https" } else { "http" };
            settings.tokens.issuer = Some(format!("{scheme}://localhost:{}", server.listen.port()));
        }
        for secret in [
            &mut settings.database.secret_key,
            &mut settings.database.database_read_url,
            &mut settings.keys.jwt_secret,
            &mut settings.mail.smtp_url,
            &mut first_admin.setup_token,
            &mut first_admin.admin_password,
        ] {
            secret.take_if(|secret| secret.expose_secret().is_empty());
        }
        first_admin.admin_username.take_if(|name| name.is_empty());
        first_admin.admin_password_file.take_if(|file| file.as_os_str().is_empty());
        self
    }
}

/// Whether `.env` gives a secret a value. A database's address is one when it has a user in it.
pub fn env_file_has_secrets() -> bool {
    let Ok(lines) = dotenvy::from_path_iter(ENV_FILE) else { return false };
    let command = Cli::command();
    let secrets: Vec<_> = command.get_arguments().filter(|setting| setting.is_hide_env_values_set()).collect();
    lines.flatten().any(|(name, value)| {
        let is_secret = secrets.iter().any(|setting| setting.get_env().is_some_and(|secret| *secret == *name));
        is_secret && !value.is_empty() && (name != "DATABASE_URL" || value.contains('@'))
    })
}

/// Reads flags, the environment and `.env` in this folder. Prints help and ends when that was asked for.
pub fn read() -> Result<Cli, StartError> {
    match dotenvy::from_path(ENV_FILE) {
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(dotenvy::Error::LineParse(_, _)) => {
            return Err(StartError::setting(
                ".env",
                "a line cannot be read; write NAME=value, in quotes if it has spaces",
            ));
        }
        Err(error) => {
            return Err(StartError::setting(".env", format_args!("cannot be read ({error}); mend or remove it")));
        }
        Ok(()) => {}
    }
    for name in Cli::command().get_arguments().filter_map(clap::Arg::get_env) {
        #[expect(clippy::disallowed_methods, reason = "clap does not say which variable is not UTF-8")]
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(StartError::setting(&name.to_string_lossy(), "is not UTF-8; write it in UTF-8"));
        }
    }
    refuse_unknown_names()?;
    let args: Vec<_> = std::env::args_os().collect();
    let matches = command().try_get_matches_from(&args).map_err(|error| one_sentence(&error))?;
    secrets::refuse_flags(&matches)?;
    let args = secrets::from_files(args)?;
    let matches = command().try_get_matches_from(args).map_err(|error| one_sentence(&error))?;
    let mut cli = Cli::from_arg_matches(&matches).map(Cli::completed).map_err(|error| one_sentence(&error))?;
    cli.config.in_force = in_force::in_force(&matches);
    Ok(cli)
}

/// A misspelt setting would otherwise be one that was never set.
fn refuse_unknown_names() -> Result<(), StartError> {
    let command = Cli::command();
    let known: Vec<_> = command.get_arguments().filter_map(|setting| setting.get_env()?.to_str()).collect();
    #[expect(clippy::disallowed_methods, reason = "all names are asked for, to find those that are no settings")]
    let mut names: Vec<_> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    names.sort();
    let ours = names.iter().filter(|name| name.starts_with("COUNTERSIGN_") && !is_of_kubernetes(name));
    let files = secrets::file_variables();
    let is_known = |name: &String| known.contains(&name.as_str()) || files.contains(name);
    let Some(unknown) = ours.into_iter().find(|name| !is_known(name)) else { return Ok(()) };
    let ours = known.iter().copied().filter(|known| known.starts_with("COUNTERSIGN_"));
    Err(StartError::setting(
        unknown,
        match nearest(unknown, ours) {
            Some(name) => format!("is no setting; did you mean {name}?"),
            None => "is no setting; docs/settings.md and countersign settings list them all".to_owned(),
        },
    ))
}

/// Whether Kubernetes sets this variable, in every container beside a service whose name begins with `countersign`.
fn is_of_kubernetes(name: &str) -> bool {
    let is_port =
        |text: &str| text == "PORT" || text.starts_with("PORT_") && (text.contains("_TCP") || text.contains("_UDP"));
    let words = ["_SERVICE_HOST", "_SERVICE_PORT"];
    words.iter().any(|word| name.contains(word))
        || name.match_indices("_PORT").any(|(at, _)| name.get(at + 1..).is_some_and(is_port))
}

/// clap's error as one sentence that names the setting and never shows its value. Help, and what is amiss with a command
/// and not with a setting, are clap's to explain.
fn one_sentence(error: &clap::Error) -> StartError {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(ContextValue::String(flag))) => {
            flag.split(' ').next().unwrap_or_default()
        }
        _ => error.exit(),
    };
    let name = flag.trim_start_matches('-');
    if !Cli::command().get_arguments().any(|setting| setting.get_long() == Some(name)) {
        error.exit();
    }
    let variable = match flag {
        "--database-url" => "DATABASE_URL".to_owned(),
        "--log" => "RUST_LOG".to_owned(),
        _ => format!("COUNTERSIGN_{}", name.replace('-', "_").to_uppercase()),
    };
    let mend = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("must be one of {}", values.join(", "))
        }
        (_, Some(source)) => source.to_string(),
        _ => "needs a value".to_owned(),
    };
    StartError::setting(&variable, mend)
}
