//! What the help of a command shows: its own options and the settings that it goes by. All settings are flags of every command,
//! so that one file or one line of the environment serves them all; only `serve` lists them.

use clap::{Arg, Command, CommandFactory};

use crate::config::Cli;

/// Settings that most commands go by.
const DATABASE: &[&str] = &["database_url", "secret_key"];

/// The settings that a command goes by, beside its own options.
fn used_by(command: &str) -> &'static [&'static str] {
    match command {
        "create" => &["database_url", "secret_key", "public_url", "invitation_ttl"],
        "link" => &["database_url", "secret_key", "public_url", "reset_ttl"],
        "import" => &["database_url", "secret_key", "import_max_cost"],
        "issue" => &["database_url", "secret_key", "personal_token_ttl"],
        "test" => &["smtp_url", "mail_from"],
        "rotate" => &["database_url", "secret_key", "jwt_algorithm"],
        "copy" => &["secret_key"],
        "health" => &["listen", "tls_cert"],
        "backup" => &["database_url"],
        "openapi" | "settings" | "man" | "completions" => &[],
        _ => DATABASE,
    }
}

/// The command line, with the settings hidden that a command does not go by.
pub fn command() -> Command {
    show(Cli::command())
}

/// Hides from each command of this command line the settings that it does not go by.
pub fn show(root: Command) -> Command {
    let settings: Vec<_> = root.get_arguments().filter(|setting| setting.get_env().is_some()).cloned().collect();
    let hidden =
        settings.iter().fold(root, |root, setting| root.mut_arg(setting.get_id(), |setting| setting.hide(true)));
    hidden.mut_subcommands(|command| show_used(command, &settings))
}

/// Gives a command settings of its own to show. clap hands it the others, which are global, as they are above it: hidden.
fn show_used(command: Command, settings: &[Arg]) -> Command {
    if command.has_subcommands() {
        return command.mut_subcommands(|command| show_used(command, settings));
    }
    let used = used_by(command.get_name());
    let is_used = |setting: &&Arg| command.get_name() == "serve" || used.contains(&setting.get_id().as_str());
    let shown: Vec<_> = settings.iter().filter(is_used).cloned().collect();
    command.args(shown)
}
