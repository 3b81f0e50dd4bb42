//! The settings as they were given, for people who look after the service. A secret is never among the values that are shown.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use crate::config::Cli;
use crate::model::Setting;

/// The random key of the hashes that stand for secrets.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// All settings in the order of the reference.
pub fn in_force(matches: &ArgMatches) -> Vec<Setting> {
    let command = Cli::command();
    let settings = command.get_arguments().filter(|setting| setting.get_env().is_some());
    settings
        .map(|setting| {
            let id = setting.get_id().as_str();
            let is_secret = setting.is_hide_env_values_set();
            let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
            let given = matches.get_raw(id).map(|values| values.map(text).collect::<Vec<_>>().join(","));
            let is_empty = given.as_deref().is_none_or(str::is_empty);
            Setting {
                heading: setting.get_help_heading().unwrap_or_default().to_owned(),
                variable: setting.get_env().map(text).unwrap_or_default(),
                about: setting.get_help().map(ToString::to_string).unwrap_or_default(),
                value: given.clone().filter(|_| !is_secret && !is_empty),
                is_secret,
                secret_hash: given.filter(|_| is_secret && !is_empty).map(|secret| KEY.hash_one(secret)),
                // An empty value is none: compose files leave a setting out that way.
                is_default: is_empty
                    || !matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable)),
            }
        })
        .collect()
}
