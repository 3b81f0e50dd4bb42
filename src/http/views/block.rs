//! The JSON representation of blocks.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{Block, BlockId, Reach, Timestamp, UserId};

/// An address that may try no more passwords for now.
#[derive(Serialize, ToSchema)]
pub struct BlockView {
    #[schema(value_type = uuid::Uuid)]
    id: BlockId,
    /// An IPv4 address or an IPv6 /64.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// What it may not try: `account`, the passwords of one account, or `any`, those of any account from which it has not
    /// logged in before.
    #[schema(example = "account")]
    reach: &'static str,
    /// The user whose passwords it may not try; null with the reach `any`, and when there is no user with that name.
    #[schema(value_type = Option<uuid::Uuid>)]
    user_id: Option<UserId>,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When the address may again try as many passwords as one that has tried none.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

/// The blocks that have not ended; at most a thousand, so not paginated.
#[derive(Serialize, ToSchema)]
pub struct BlockList {
    items: Vec<BlockView>,
}

impl From<Vec<Block>> for BlockList {
    fn from(blocks: Vec<Block>) -> Self {
        Self { items: blocks.into_iter().map(BlockView::from).collect() }
    }
}

impl From<Block> for BlockView {
    fn from(block: Block) -> Self {
        let (reach, user_id) = match block.reach {
            Reach::Any => ("any", None),
            Reach::Account(user) => ("account", user),
        };
        Self { id: block.id, address: block.network, reach, user_id, since: block.since, until: block.until }
    }
}
