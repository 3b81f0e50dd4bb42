//! Every setting: a flag, a variable of the environment, a line in `.env`, and its documentation, from one declaration
//! (`settings.rs`, `people.rs`). `.env.example` and `docs/settings.md` are generated from them (`reference.rs`).
//! `sources.rs` reads them, at the start and again while a server runs.
//!
//! Secrets have a type that does not print, and their values are kept out of `--help` and of errors.

mod commands;
mod help;
mod in_force;
mod people;
mod reference;
mod secrets;
mod server;
mod settings;
mod sources;
mod values;

use std::path::PathBuf;

use clap::Parser;
use secrecy::ExposeSecret;

pub use self::commands::{
    AuditCommand, BlockCommand, Command, CopyCommand, ExportCommand, ImportCommand, KeyCommand, MailCommand,
    ReferenceFormat, SessionCommand, Since, Sure, TokenCommand, UserCommand, Which,
};
pub use self::help::command;
pub use self::people::{MailSettings, Registration};
pub use self::reference::reference;
pub use self::server::{CollectorSettings, LogFormat, LogSettings};
pub use self::settings::{Config, GuessingSettings, Settings};
pub use self::sources::{Sources, read};

/// What a command's exit code says; clap itself ends with 2.
const EXIT_CODES: &str =
    "Settings are flags, variables of the environment, or lines of .env: countersign serve --help \
lists them all.

Exit codes: 0 done; 1 not done, and standard error says why in one sentence; 2 not understood; \
3 done, and something was found that needs a person.";

/// Users, passwords and tokens in one binary.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, args_override_self = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without a command it serves.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The file of settings [default: .env in this folder, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

impl Cli {
    /// Takes an empty value of an optional setting as none, because compose files and `.env` leave a setting out that way, and
    /// fills in the settings that follow others.
    fn completed(mut self) -> Self {
        let Config { settings, first_admin, server, collector, .. } = &mut self.config;
        let pages = [&mut settings.pages.logo, &mut settings.mail.mail_templates];
        for file in [&mut server.tls_cert, &mut server.tls_key].into_iter().chain(pages) {
            file.take_if(|file| file.as_os_str().is_empty());
        }
        collector.otlp_url.take_if(|url| url.is_empty());
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
            &mut collector.otlp_headers,
            &mut first_admin.admin_password,
        ] {
            secret.take_if(|secret| secret.expose_secret().is_empty());
        }
        first_admin.admin_username.take_if(|name| name.is_empty());
        first_admin.admin_password_file.take_if(|file| file.as_os_str().is_empty());
        self
    }
}
