//! What the help of a command shows: its own options and the settings that it goes by. All settings are flags of every command,
//! so that one file or one line of the environment serves them all; only `serve` lists them.

use clap::{Arg, Command, CommandFactory};

use crate::config::Cli;

/// The settings that a command goes by, beside its own options. Those that only read need no secret key.
fn used_by(command: &str) -> Vec<&'static str> {
    const DATABASE: &[&str] = &["database_url"];
    const KEY: &[&str] = &["secret_key"];
    const HASHES: &[&str] = &["password_min_length", "argon2_memory_kib", "argon2_iterations"];
    const MAIL: &[&str] = &["smtp_url", "mail_from"];
    match command {
        "user list" | "user show" | "token list" | "session list" | "block list" | "audit list" | "backup" => {
            DATABASE.to_vec()
        }
        "user create" => [DATABASE, KEY, HASHES, &["invitation_ttl", "public_url"], MAIL].concat(),
        "user set-password" => [DATABASE, KEY, HASHES].concat(),
        "user link" => [DATABASE, KEY, &["invitation_ttl", "reset_ttl", "public_url"], MAIL].concat(),
        "import" => [DATABASE, KEY, &["import_max_cost", "invitation_ttl", "public_url"], MAIL].concat(),
        "token issue" => [DATABASE, KEY, &["personal_token_ttl"]].concat(),
        "key rotate" => [DATABASE, KEY, &["jwt_algorithm"]].concat(),
        "mail test" => MAIL.to_vec(),
        "health" => vec!["listen", "tls_cert"],
        "openapi" | "settings" | "man" | "completions" => Vec::new(),
        _ => [DATABASE, KEY].concat(),
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
    hidden.mut_subcommands(|command| show_used(command, "", &settings))
}

/// Gives a command settings of its own to show. clap hands it the others, which are global, as they are above it: hidden.
fn show_used(command: Command, group: &str, settings: &[Arg]) -> Command {
    let name = format!("{group} {}", command.get_name());
    if command.has_subcommands() {
        return command.mut_subcommands(|command| show_used(command, &name, settings));
    }
    let used = used_by(name.trim_start());
    let is_used = |setting: &&Arg| command.get_name() == "serve" || used.contains(&setting.get_id().as_str());
    let shown: Vec<_> = settings.iter().filter(is_used).cloned().collect();
    command.args(shown)
}
