//! Secrets come from the environment, from `.env`, or from a file that a variable with `_FILE` at its end names. They never
//! come from a flag: other users of the machine can read the arguments of a process.

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory};
use secrecy::ExposeSecret;

use crate::config::{Cli, values};
use crate::error::StartError;

/// The end of the name of a variable that names a file.
const FILE: &str = "_FILE";
/// The variables with an address that is a secret only if it has a password in it.
const URLS: [&str; 3] = ["DATABASE_URL", "COUNTERSIGN_DATABASE_READ_URL", "COUNTERSIGN_SMTP_URL"];

/// The variable of a setting that is a secret.
fn variable(setting: &Arg) -> Option<&str> {
    setting.get_env().and_then(|name| name.to_str()).filter(|_| setting.is_hide_env_values_set())
}

/// The names of the variables that name files with secrets.
pub fn file_variables() -> Vec<String> {
    Cli::command().get_arguments().filter_map(|setting| Some(format!("{}{FILE}", variable(setting)?))).collect()
}

/// The secrets that files hold, as arguments for clap to read. `variable` finds the value of a variable.
pub fn from_files(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<OsString>, StartError> {
    let mut args = Vec::new();
    let command = Cli::command();
    let is_setting =
        |name: &str| command.get_arguments().any(|setting| setting.get_env().is_some_and(|env| env == name));
    for setting in command.get_arguments() {
        let (Some(name), Some(flag)) = (self::variable(setting), setting.get_long()) else { continue };
        let file_variable = format!("{name}{FILE}");
        // The password of the first administrator has such a setting of its own.
        if is_setting(&file_variable) {
            continue;
        }
        let Some(file) = variable(&file_variable) else { continue };
        if variable(name).is_some() {
            return Err(StartError::setting(name, format_args!("is set, and {file_variable} too; keep one")));
        }
        let secret = values::first_line(&file_variable, Path::new(&file))?;
        args.push(format!("--{flag}={}", secret.expose_secret()).into());
    }
    Ok(args)
}

/// Refuses a secret that is an argument. An address is one when it has a password in it.
pub fn refuse_flags(matches: &ArgMatches) -> Result<(), StartError> {
    for setting in Cli::command().get_arguments() {
        let (Some(name), Some(flag)) = (variable(setting), setting.get_long()) else { continue };
        let id = setting.get_id().as_str();
        let is_argument = matches.value_source(id) == Some(ValueSource::CommandLine);
        let raw = || matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy());
        if is_argument && (!URLS.contains(&name) || raw().any(|url| has_password(&url))) {
            return Err(StartError::setting(
                name,
                format_args!(
                    "others can read --{flag} among the arguments; set {name}, or {name}{FILE} to a file with it"
                ),
            ));
        }
    }
    Ok(())
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}
