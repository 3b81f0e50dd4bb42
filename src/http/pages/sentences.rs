//! Audit records as sentences: who did what to whom.

use std::collections::HashMap;

use serde::Serialize;

use crate::auth::Auth;
use crate::error::Error;
use crate::model::{AuditRow, Timestamp, UserId};

/// An audit record as people read it: `who did whom`, each a part of its own, so that names can be links.
#[derive(Serialize)]
pub struct Sentence {
    seq: i64,
    at: Timestamp,
    event: String,
    is_refused: bool,
    who: String,
    who_id: Option<UserId>,
    did: String,
    whom: Option<String>,
    whom_id: Option<UserId>,
    detail: Option<String>,
    address: Option<String>,
    method: Option<String>,
    request_id: Option<String>,
}

/// Turns records into sentences, with the names of users as they are now.
pub async fn sentences(auth: &Auth, rows: Vec<AuditRow>) -> Result<Vec<Sentence>, Error> {
    let names = auth.names_in(&rows).await?;
    Ok(rows.into_iter().map(|row| Sentence::of(row, &names)).collect())
}

/// As [`sentences`], for a user who is no administrator: where others were when they acted is not theirs to know.
pub async fn sentences_for(auth: &Auth, reader: UserId, mut rows: Vec<AuditRow>) -> Result<Vec<Sentence>, Error> {
    for row in rows.iter_mut().filter(|row| row.actor.is_some_and(|actor| actor != reader)) {
        row.address = None;
    }
    sentences(auth, rows).await
}

impl Sentence {
    fn of(row: AuditRow, names: &HashMap<UserId, (String, bool)>) -> Self {
        let name = |id: Option<UserId>| id.and_then(|id| names.get(&id)).map(|(name, _)| name.clone());
        let is_there = |id: &UserId| names.get(id).is_some_and(|(_, is_there)| *is_there);
        let is_own = row.actor.is_some() && row.actor == row.subject;
        let target = row.target.as_deref().unwrap_or_default();
        let (did, takes_whom) = verb(&row.event, is_own, target, row.method.as_deref());
        let takes_whom = takes_whom && row.subject.is_some();
        let unnamed = row.subject.map(|id| format!("a deleted user ({id})"));
        let whom = name(row.subject).or(unnamed).filter(|_| takes_whom);
        Self {
            seq: row.seq,
            at: row.at,
            is_refused: row.outcome == "refused",
            who: name(row.actor).unwrap_or_else(|| somebody(&row).to_owned()),
            who_id: row.actor.filter(is_there),
            did,
            whom_id: row.subject.filter(|id| takes_whom && is_there(id)),
            whom,
            detail: row.detail,
            address: row.address,
            method: row.method,
            request_id: row.request_id,
            event: row.event,
        }
    }
}

/// Who acted, where there is no name.
fn somebody(row: &AuditRow) -> &'static str {
    match (row.actor, row.method.as_deref()) {
        (Some(_), _) => "A deleted user",
        (None, Some("command")) => "Somebody on the command line",
        (None, Some("system")) => "The service",
        (None, Some("setup")) => "The holder of the setup token",
        (None, Some("link")) => "The holder of a link",
        _ => "Somebody",
    }
}

/// What an event is called in a list to choose from.
pub fn label(event: &str) -> String {
    let (did, takes_whom) = verb(event, false, "", None);
    if takes_whom { format!("{did} …") } else { did }
}

/// What was done, and whether the sentence goes on with the user whom it was done to.
fn verb(event: &str, is_own: bool, target: &str, method: Option<&str>) -> (String, bool) {
    let everyone = target == "everyone";
    let many = target.contains(' ');
    let (did, takes_whom) = match event {
        "login.succeeded" => ("signed in", false),
        "login.failed" => ("tried a wrong password of", true),
        "login.limited" => ("tried too many passwords, of", true),
        "block.lifted" => return (format!("lifted the block of {target}"), false),
        "session.refreshed" => ("renewed a session", false),
        "session.token-reused" => ("showed a token that had been exchanged, which ended a session of", true),
        "session.ended" if everyone => ("ended the sessions of everyone", false),
        "session.ended" if is_own && many => ("ended other sessions", false),
        "session.ended" if is_own => ("ended a session", false),
        "session.ended" => (if many { "ended sessions of" } else { "ended a session of" }, true),
        "token.created" if is_own => ("made a personal token", false),
        "token.created" => ("made a personal token for", true),
        "token.revoked" if everyone => ("revoked the personal tokens of everyone", false),
        "token.revoked" if is_own => (if many { "revoked personal tokens" } else { "revoked a personal token" }, false),
        "token.revoked" => (if many { "revoked personal tokens of" } else { "revoked a personal token of" }, true),
        "key.rotated" => ("made the next signing key", false),
        "keys.revoked" => ("ended all signing keys", false),
        "audit.forgotten" => ("deleted old audit records", false),
        "audit.sealed" => ("began to seal the audit trail", false),
        "audit.broken" => ("found the audit trail changed by something else", false),
        "user.created" if method == Some("link") => ("registered as", true),
        "user.created" => ("created", true),
        "user.changed" if is_own => ("changed their own account", false),
        "user.changed" => ("changed", true),
        "user.disabled" => ("disabled", true),
        "user.enabled" => ("enabled", true),
        "user.deleted" => ("deleted", true),
        "user.password-set" if is_own && target == "invitation" => ("chose their first password", false),
        "user.password-set" if is_own && target == "password-reset" => ("chose another password by a link", false),
        "user.password-set" if is_own => ("changed their password", false),
        "user.password-set" => ("set the password of", true),
        "link.created" if target.contains(' ') => return (format!("made links: {target}"), false),
        "link.created" if target == "invitation" => ("made an invitation for", true),
        "link.created" => ("made a link to choose a password for", true),
        "mail.failed" => ("could not send a mail to", true),
        "user.imported" => return (format!("imported {target}"), false),
        "user.exported" => ("exported all users with their password hashes", false),
        "database.restored" => ("restored a backup", false),
        "database.copied" => return (format!("moved everything here from {target}"), false),
        other => return (other.to_owned(), true),
    };
    (did.to_owned(), takes_whom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Event;

    #[test]
    fn every_event_has_words_of_its_own() {
        for event in Event::ALL {
            let (did, _) = verb(event.as_str(), false, "", None);
            assert_ne!(did, event.as_str(), "a new event needs a sentence");
        }
    }
}
