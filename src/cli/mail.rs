//! `countersign mail`: shows whether mail arrives.

use crate::cli::{explain, print, with_auth};
use crate::config::{Config, MailCommand};
use crate::error::CommandError;

/// Runs `countersign mail`.
pub fn run(config: &Config, command: &MailCommand) -> Result<(), CommandError> {
    let MailCommand::Test { address } = command;
    let sent = with_auth(config, async |auth| auth.test_mail(address).await.map_err(explain))?;
    sent.map_err(|error| CommandError(error.to_string()))?;
    print(&format!("the mail server took a mail to {address}; look whether it arrives\n"))
}
