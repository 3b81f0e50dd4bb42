//! Where settings come from: a flag, or else the environment, or else the file of settings, or else the default.
//!
//! The file alone can change while the process runs, so it is read again when a server is asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::config::{Cli, help, in_force, secrets};
use crate::error::StartError;
use crate::model::nearest;

/// The beginning of the names of our variables.
const PREFIX: &str = "COUNTERSIGN_";
/// The file of settings unless a flag names another, in the folder the program is started in.
const ENV_FILE: &str = ".env";

/// Where the settings of this process come from. No value of a secret is in it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    args: Vec<OsString>,
    /// The names of the variables that the process was started with. Later those of the file are in its environment, too.
    environment: BTreeSet<OsString>,
    file: PathBuf,
    /// Whether the file must be there: a flag names it, or it was there when it was last read. An editor that saves it may take
    /// it away for a moment, which must not look like a file without settings.
    is_expected: bool,
}

/// The variables in the file of settings.
type Lines = BTreeMap<String, String>;

/// Reads flags, the environment and the file of settings. Prints help and ends when that was asked for.
pub fn read() -> Result<Cli, StartError> {
    #[expect(clippy::disallowed_methods, reason = "the names tell what is from the environment and what from the file")]
    let environment = std::env::vars_os().map(|(name, _)| name).collect();
    for name in Cli::command().get_arguments().filter_map(clap::Arg::get_env) {
        #[expect(clippy::disallowed_methods, reason = "clap does not say which variable is not UTF-8")]
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(StartError::setting(&name.to_string_lossy(), "is not UTF-8; write it in UTF-8"));
        }
    }
    let args: Vec<_> = std::env::args_os().collect();
    let matches = help::command().try_get_matches_from(&args);
    let matches = matches.map_err(|error| one_sentence(&error).unwrap_or_else(|| error.exit()))?;
    secrets::refuse_flags(&matches)?;
    let named = matches.get_one::<PathBuf>("env_file").cloned();
    let is_expected = named.is_some();
    let sources = Sources { args, environment, file: named.unwrap_or_else(|| ENV_FILE.into()), is_expected };
    // Libraries have variables of their own, such as SSL_CERT_FILE, which may be in the file as well.
    dotenvy::from_read(sources.text()?.unwrap_or_default().as_bytes()).map_err(|error| sources.unreadable(&error))?;
    sources.read()
}

impl Sources {
    /// Reads the settings, of which those in the file may have changed.
    pub fn read(&self) -> Result<Cli, StartError> {
        let text = self.text()?;
        let lines = self.lines(text.as_deref().unwrap_or_default())?;
        self.refuse_unknown_names(&lines)?;
        // What the file said at the start is in the environment, and is not what it says now.
        let mut command = help::show(Cli::command().mut_args(|setting| match setting.get_env() {
            Some(name) if !self.environment.contains(name) => setting.env(""),
            _ => setting,
        }));
        let (program, given) = self.args.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        // The last one counts, so flags come after what the file says.
        let mut args: Vec<_> = program.cloned().into_iter().chain(self.flags(&lines)).collect();
        args.extend(secrets::from_files(|name| self.variable(&lines, name))?);
        args.extend(given.iter().cloned());
        let said = |error: &clap::Error| one_sentence(error).unwrap_or_else(|| StartError(error.kind().to_string()));
        let matches = command.try_get_matches_from_mut(args).map_err(|error| said(&error))?;
        let mut cli = Cli::from_arg_matches(&matches).map(Cli::completed).map_err(|error| said(&error))?;
        cli.config.in_force = in_force::in_force(&matches);
        cli.config.sources = Self { is_expected: self.is_expected || text.is_some(), ..self.clone() };
        Ok(cli)
    }

    /// The file of settings.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the file gives a secret a value. A database's address is one when it has a user in it.
    pub fn file_has_secrets(&self) -> bool {
        let Ok(lines) = self.text().and_then(|text| self.lines(&text.unwrap_or_default())) else { return false };
        let command = Cli::command();
        let secrets: Vec<_> = command.get_arguments().filter(|setting| setting.is_hide_env_values_set()).collect();
        lines.iter().any(|(name, value)| {
            let is_secret = secrets.iter().any(|setting| setting.get_env().is_some_and(|secret| *secret == **name));
            is_secret && !value.is_empty() && (name != "DATABASE_URL" || value.contains('@'))
        })
    }

    /// What the file says, as flags. What is in the environment takes precedence.
    fn flags(&self, lines: &Lines) -> Vec<OsString> {
        let command = Cli::command();
        let flag = |setting: &clap::Arg| {
            let (name, flag) = (setting.get_env()?.to_str()?, setting.get_long()?);
            let value = lines.get(name).filter(|_| !self.environment.contains(OsStr::new(name)))?;
            Some(format!("--{flag}={value}").into())
        };
        command.get_arguments().filter_map(flag).collect()
    }

    /// A variable, of the environment or else of the file; none when it is empty.
    fn variable(&self, lines: &Lines, name: &str) -> Option<OsString> {
        #[expect(clippy::disallowed_methods, reason = "clap knows nothing of files with secrets")]
        let value = match self.environment.contains(OsStr::new(name)) {
            true => std::env::var_os(name),
            false => lines.get(name).map(OsString::from),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The text of the file; none when it is not there and need not be.
    fn text(&self) -> Result<Option<String>, StartError> {
        match std::fs::read_to_string(&self.file) {
            Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_expected => Ok(None),
            Err(error) => Err(self.unreadable(&dotenvy::Error::Io(error))),
        }
    }

    fn lines(&self, text: &str) -> Result<Lines, StartError> {
        let mut lines = Lines::new();
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = line.map_err(|error| self.unreadable(&error))?;
            // Whoever corrects a setting below it would go on with the one above.
            if name.starts_with(PREFIX) && lines.contains_key(&name) {
                let mend = format!("stands twice in {}; remove one of them", self.file.display());
                return Err(StartError::setting(&name, mend));
            }
            lines.entry(name).or_insert(value);
        }
        Ok(lines)
    }

    fn unreadable(&self, error: &dotenvy::Error) -> StartError {
        let file = self.file.display().to_string();
        match error {
            dotenvy::Error::LineParse(_, _) => {
                StartError::setting(&file, "a line cannot be read; write NAME=value, in quotes if it has spaces")
            }
            dotenvy::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                StartError::setting(&file, format_args!("cannot be read ({error}); put it there, or start without it"))
            }
            error => StartError::setting(&file, format_args!("cannot be read ({error}); mend or remove it")),
        }
    }

    /// A misspelt setting would otherwise be one that was never set.
    fn refuse_unknown_names(&self, lines: &Lines) -> Result<(), StartError> {
        let command = Cli::command();
        let known: Vec<_> = command.get_arguments().filter_map(|setting| setting.get_env()?.to_str()).collect();
        let names: BTreeSet<_> =
            self.environment.iter().filter_map(|name| name.to_str()).chain(lines.keys().map(String::as_str)).collect();
        let mut ours = names.into_iter().filter(|name| name.starts_with(PREFIX) && !is_of_kubernetes(name));
        let files = secrets::file_variables();
        let is_known = |name: &str| known.contains(&name) || files.iter().any(|file| file == name);
        let Some(unknown) = ours.find(|name| !is_known(name)) else { return Ok(()) };
        let ours = known.iter().copied().filter(|known| known.starts_with(PREFIX));
        Err(StartError::setting(
            unknown,
            match nearest(unknown, ours) {
                Some(name) => format!("is no setting; did you mean {name}?"),
                None => "is no setting; docs/settings.md and countersign settings list them all".to_owned(),
            },
        ))
    }
}

/// Whether Kubernetes sets this variable, in every container beside a service whose name begins with `countersign`.
fn is_of_kubernetes(name: &str) -> bool {
    let is_port =
        |text: &str| text == "PORT" || text.starts_with("PORT_") && (text.contains("_TCP") || text.contains("_UDP"));
    let words = ["_SERVICE_HOST", "_SERVICE_PORT"];
    words.iter().any(|word| name.contains(word))
        || name.match_indices("_PORT").any(|(at, _)| name.get(at + 1..).is_some_and(is_port))
}

/// clap's error as one sentence that names the setting and never shows its value. None of help, and of what is amiss with a
/// command and not with a setting: these are clap's to explain.
fn one_sentence(error: &clap::Error) -> Option<StartError> {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(ContextValue::String(flag))) => {
            flag.split(' ').next().unwrap_or_default()
        }
        _ => return None,
    };
    let name = flag.trim_start_matches('-');
    let command = Cli::command();
    let setting = command.get_arguments().find(|setting| setting.get_long() == Some(name))?;
    let variable = setting.get_env().map_or(flag.into(), OsStr::to_string_lossy);
    let mend = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("must be one of {}", values.join(", "))
        }
        (_, Some(source)) => source.to_string(),
        _ => "needs a value".to_owned(),
    };
    Some(StartError::setting(&variable, mend))
}
