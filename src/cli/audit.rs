//! `countersign audit`: lists and verifies the audit trail.

use std::collections::HashMap;
use std::num::NonZeroU64;

use crate::auth::{Auth, seal_audit};
use crate::cli::table::{cell, line};
use crate::cli::{Outcome, block_on, confirm, json_line, looking, print, print_page, with_auth};
use crate::config::{AuditCommand, Config, Since};
use crate::error::{CommandError, Error};
use crate::http::views::AuditView;
use crate::model::{AuditFilter, AuditRow, Clock, Event, UserId};

/// Records read per page.
const PAGE: u32 = 1000;

/// Column widths in characters.
const WIDTHS: [usize; 10] = [8, 24, 20, 8, 16, 16, 9, 15, 36, 0];

/// Runs `countersign audit`.
pub fn run(config: &Config, command: &AuditCommand) -> Result<Outcome, CommandError> {
    match command {
        AuditCommand::List { user, event, since, limit, json } => looking(config, async |auth| {
            let filter = filter(auth, user.as_deref(), *event, *since).await?;
            list(auth, &filter, limit.map_or(u64::MAX, NonZeroU64::get), *json).await?;
            Ok(Outcome::Done)
        }),
        AuditCommand::Verify { expect } => with_auth(config, async |auth| verify(auth, expect.as_ref()).await),
        AuditCommand::Seal(sure) => {
            confirm(*sure, "From here on, this secret key vouches for the trail, whatever was done to it before.")?;
            block_on(seal_audit(&Clock::System, &config.settings))??;
            Ok(Outcome::Done)
        }
    }
}

async fn filter(
    auth: &Auth,
    user: Option<&str>,
    event: Option<Event>,
    since: Option<Since>,
) -> Result<AuditFilter, CommandError> {
    let user = match user {
        Some(user) => Some(find_ever(auth, user).await?),
        None => None,
    };
    let since = since.map(|since| match since {
        Since::At(moment) => moment,
        Since::Ago(ago) => auth.now().before(ago),
    });
    Ok(AuditFilter { user, event, since })
}

/// The id of a user there is or was: of one who was deleted, the records are what is left.
async fn find_ever(auth: &Auth, user: &str) -> Result<UserId, CommandError> {
    match user.parse() {
        Ok(id) => Ok(id),
        Err(_) => match auth.user_ever_named(user).await {
            Err(Error::NotFound) => Err(CommandError(format!("there is and was no user {user}"))),
            found => Ok(found?),
        },
    }
}

async fn list(auth: &Auth, filter: &AuditFilter, limit: u64, json: bool) -> Result<(), CommandError> {
    let header = ["NUMBER", "AT", "EVENT", "OUTCOME", "BY", "TO", "METHOD", "ADDRESS", "TARGET", "DETAIL"];
    let mut names = Names { auth, known: HashMap::new() };
    let mut text = if json { String::new() } else { line(&header, WIDTHS) };
    let (mut before, mut left) = (None, limit);
    loop {
        let wanted = u32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
        let (rows, next) = auth.audit(filter, before, wanted).await?;
        for row in rows {
            text += &if json { json_line(&AuditView::from(row))? } else { names.line(row).await? };
        }
        left -= u64::from(wanted);
        if !print_page(&text)? || next.is_none() || left == 0 {
            return Ok(());
        }
        (before, text) = (next, String::new());
    }
}

/// Resolves user ids to usernames, with a cache. A deleted user stays an id.
struct Names<'a> {
    auth: &'a Auth,
    known: HashMap<UserId, String>,
}

impl Names<'_> {
    async fn line(&mut self, row: AuditRow) -> Result<String, CommandError> {
        let (actor, subject) = (self.name(row.actor).await?, self.name(row.subject).await?);
        let [number, at] = [row.seq.to_string(), row.at.to_string()];
        let (method, address) = (cell(row.method), cell(row.address));
        let (target, detail) = (cell(row.target), cell(row.detail));
        let cells = [number, at, row.event, row.outcome, actor, subject, method, address, target, detail];
        Ok(line(&cells, WIDTHS))
    }

    async fn name(&mut self, id: Option<UserId>) -> Result<String, CommandError> {
        let Some(id) = id else { return Ok(cell(None::<String>)) };
        if let Some(name) = self.known.get(&id) {
            return Ok(name.clone());
        }
        let name = match self.auth.user(id).await {
            Err(Error::NotFound) => id.to_string(),
            user => user?.username,
        };
        self.known.insert(id, name.clone());
        Ok(name)
    }
}

async fn verify(auth: &Auth, expected: Option<&(i64, String)>) -> Result<Outcome, CommandError> {
    let verified = auth.verify_audit().await?;
    let records = verified.records;
    if let Some(number) = verified.broken_at {
        print(&format!("record {number} was changed or is missing; the {records} before it hang together\n"))?;
        return Ok(Outcome::NeedsAttention);
    }
    if let Some((number, hash)) = expected
        && auth.audit_hash(*number).await?.as_ref() != Some(hash)
    {
        print(&format!("{records} records hang together, but record {number} is not there with that hash\n"))?;
        return Ok(Outcome::NeedsAttention);
    }
    let earlier = match verified.unsealed {
        0 => String::new(),
        count => format!("; the first {count} are from before the trail had this key, and unchanged since"),
    };
    print(&format!("{records} records hang together, from the first to the last{earlier}\n"))?;
    Ok(Outcome::Done)
}
