//! `countersign session`: lists and ends sessions.

use crate::auth::{Actor, Auth};
use crate::cli::table::{cell, table};
use crate::cli::{confirm_which, explain, find, json, looking, print, with_auth};
use crate::config::{Config, SessionCommand, Which};
use crate::error::{CommandError, Error};
use crate::http::views::SessionList;
use crate::model::{Session, SessionId};

/// Runs `countersign session`.
pub fn run(config: &Config, command: &SessionCommand) -> Result<(), CommandError> {
    if let SessionCommand::End(which) = command {
        confirm_which(which, "This ends sessions")?;
    }
    let work = async |auth: &Auth| answer(auth, command).await;
    print(&match command {
        SessionCommand::List { .. } => looking(config, work),
        SessionCommand::End(_) => with_auth(config, work),
    }?)
}

async fn answer(auth: &Auth, command: &SessionCommand) -> Result<String, CommandError> {
    match command {
        SessionCommand::List { username, json: as_json } => {
            let sessions = auth.sessions(find(auth, username).await?.id).await?;
            if *as_json { json(&SessionList::new(sessions, None)) } else { Ok(list(sessions)) }
        }
        SessionCommand::End(Which { all: Some(username), .. }) => {
            let user = find(auth, username).await?;
            let ended = auth.end_sessions(Actor::Operator, user.id, None).await.map_err(explain)?;
            Ok(format!("sessions of {} ended: {ended}\n", user.username))
        }
        SessionCommand::End(Which { id: Some(id), .. }) => {
            match auth.end_session(Actor::Operator, None, SessionId(*id)).await {
                Err(Error::NotFound) => Err(CommandError(format!("there is no session {id}"))),
                ended => ended.map_err(explain).map(|()| format!("the session {id} was ended\n")),
            }
        }
        SessionCommand::End(_) => {
            let ended = auth.end_all_sessions(Actor::Operator).await.map_err(explain)?;
            Ok(format!("sessions ended: {ended}\n"))
        }
    }
}

fn list(sessions: Vec<Session>) -> String {
    let rows = sessions.into_iter().map(|session| {
        let times = [session.created_at, session.last_seen_at, session.expires_at].map(|time| time.to_string());
        let [created, seen, expires] = times;
        [session.id.to_string(), created, seen, expires, session.address, cell(session.user_agent)]
    });
    table(["ID", "CREATED", "LAST SEEN", "EXPIRES", "ADDRESS", "USER AGENT"], rows)
}
