//! `countersign token`: lists, issues and revokes personal access tokens.

use crate::auth::{Actor, Auth};
use crate::cli::table::{cell, table};
use crate::cli::{confirm_which, explain, find, json, looking, print, with_auth};
use crate::config::{Config, TokenCommand, Which};
use crate::error::{CommandError, Error};
use crate::http::views::{CreatedToken, TokenList};
use crate::model::{NewToken, PersonalToken, TokenId};

/// Runs `countersign token`.
pub fn run(config: &Config, command: &TokenCommand) -> Result<(), CommandError> {
    if let TokenCommand::Revoke(which) = command {
        confirm_which(which, "This revokes personal access tokens")?;
    }
    let work = async |auth: &Auth| answer(auth, command).await;
    print(&match command {
        TokenCommand::List { .. } => looking(config, work),
        TokenCommand::Issue { .. } | TokenCommand::Revoke(_) => with_auth(config, work),
    }?)
}

async fn answer(auth: &Auth, command: &TokenCommand) -> Result<String, CommandError> {
    match command {
        TokenCommand::List { username, json: as_json } => {
            let tokens = auth.tokens(find(auth, username).await?.id).await?;
            if *as_json { json(&TokenList::new(tokens)) } else { Ok(list(tokens)) }
        }
        TokenCommand::Issue { username, name, scopes, expires_in, json: as_json } => {
            let new =
                NewToken { name: name.clone(), scopes: scopes.iter().copied().collect(), expires_in: *expires_in };
            let user = find(auth, username).await?;
            let (token, secret) = auth.issue_token(&user, new).await.map_err(|error| match error {
                Error::InvalidToken => CommandError(format!("{} is disabled and can have no token", user.username)),
                Error::TooManyTokens => {
                    CommandError(format!("{} has the maximum number of tokens; revoke some first", user.username))
                }
                error => explain(error),
            })?;
            if *as_json { json(&CreatedToken::new(token, &secret)) } else { Ok(secret.reveal() + "\n") }
        }
        TokenCommand::Revoke(Which { all: Some(username), .. }) => {
            let user = find(auth, username).await?;
            let revoked = auth.revoke_tokens(Actor::Operator, user.id).await.map_err(explain)?;
            Ok(format!("tokens of {} revoked: {revoked}\n", user.username))
        }
        TokenCommand::Revoke(Which { id: Some(id), .. }) => {
            match auth.revoke_token(Actor::Operator, None, TokenId(*id)).await {
                Err(Error::NotFound) => Err(CommandError(format!("there is no token {id}"))),
                revoked => revoked.map_err(explain).map(|()| format!("the token {id} was revoked\n")),
            }
        }
        TokenCommand::Revoke(_) => {
            let revoked = auth.revoke_all_tokens(Actor::Operator).await.map_err(explain)?;
            Ok(format!("tokens revoked: {revoked}\n"))
        }
    }
}

fn list(tokens: Vec<PersonalToken>) -> String {
    let rows = tokens.into_iter().map(|token| {
        let (created, scopes) = (token.created_at.to_string(), token.scopes.to_string());
        [token.id.to_string(), token.name, scopes, created, cell(token.expires_at), cell(token.last_used_at)]
    });
    table(["ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED"], rows)
}
