//! `countersign block`: lists and lifts blocks of addresses that tried too many wrong passwords.

use crate::auth::{Actor, Auth};
use crate::cli::table::table;
use crate::cli::{explain, json, looking, print, with_auth};
use crate::config::{BlockCommand, Config};
use crate::error::{CommandError, Error};
use crate::http::views::BlockList;
use crate::model::{BlockId, Reach};

/// Runs `countersign block`.
pub fn run(config: &Config, command: BlockCommand) -> Result<(), CommandError> {
    let work = async |auth: &Auth| answer(auth, command).await;
    print(&match command {
        BlockCommand::List { .. } => looking(config, work),
        BlockCommand::Lift { .. } => with_auth(config, work),
    }?)
}

async fn answer(auth: &Auth, command: BlockCommand) -> Result<String, CommandError> {
    match command {
        BlockCommand::List { json: true } => json(&BlockList::from(auth.blocks().await?)),
        BlockCommand::List { json: false } => {
            let mut rows = Vec::new();
            for block in auth.blocks().await? {
                let whose = match block.reach {
                    Reach::Any => "any".to_owned(),
                    Reach::Account(None) => "(unknown username)".to_owned(),
                    Reach::Account(Some(id)) => match auth.user(id).await {
                        Err(Error::NotFound) => id.to_string(),
                        user => user?.username,
                    },
                };
                rows.push([
                    block.id.to_string(),
                    block.network,
                    whose,
                    block.since.to_string(),
                    block.until.to_string(),
                ]);
            }
            Ok(table(["ID", "ADDRESS", "ACCOUNT", "SINCE", "UNTIL"], rows))
        }
        BlockCommand::Lift { id } => match auth.lift_block(Actor::Operator, BlockId(id)).await {
            Err(Error::NotFound) => Err(CommandError(format!("there is no block {id}"))),
            lifted => lifted.map_err(explain).map(|()| format!("the block {id} was lifted\n")),
        },
    }
}
