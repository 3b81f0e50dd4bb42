//! Blocks: networks that the limiter refuses for a while, where operators can see and lift them.
//!
//! Rule: the counters are in the memory of each server (`limiter.rs`); a row in the table of blocks says that one of them is
//! used up. Whoever deletes the row lifts the block: the server that wrote it looks, at most once a second, whether it is
//! still there. Threat: a block that nobody can see or end, and a flood of refusals that writes to the database.

use std::time::Duration;

use crate::auth::passwords::bucket::Bucket;
use crate::auth::passwords::limiter::Refused;
use crate::auth::{Actor, Auth, random};
use crate::error::Error;
use crate::model::{Block, BlockId, ClientNetwork, Event, Reach, UserId};

/// How often a server looks whether a block was lifted elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Auth {
    /// Whether an operator has deleted the row of this block. When the database does not answer, the block stays.
    pub(in crate::auth) async fn was_lifted(&self, bucket: &Bucket) -> bool {
        let now = self.clock.now();
        let due = match &mut bucket.lock().block {
            Some((id, seen_at)) if seen_at.after(LOOK_EVERY) <= now => {
                *seen_at = now;
                Some(*id)
            }
            _ => None,
        };
        let Some(id) = due else { return false };
        let exists = async { self.store.read().await?.has_block(id).await };
        !exists.await.unwrap_or(true)
    }

    /// Writes the row of a block, or how long it lasts now. A failure is logged and does not change the answer.
    pub(in crate::auth) async fn note_block(&self, refused: &Refused, network: ClientNetwork, user: Option<UserId>) {
        let now = self.clock.now();
        let (known, until) = {
            let mut slots = refused.bucket.lock();
            let until = slots.all_free_at();
            if slots.noted >= until {
                return;
            }
            slots.noted = until;
            (slots.block, until)
        };
        let id = known.map_or_else(|| BlockId::new(now, random()), |(id, _)| id);
        let reach = if refused.is_of_account { Reach::Account(user) } else { Reach::Any };
        let (auth, block) = (self.clone(), Block { id, network: network.to_string(), reach, since: now, until });
        let noted = self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.upsert_block(&block).await?;
            tx.commit().await
        });
        match noted.await {
            // Only now may the row be missed.
            Ok(()) => refused.bucket.lock().block = Some((id, self.clock.now())),
            Err(error) => tracing::warn!(%error, %network, "a block was not recorded"),
        }
    }

    /// The blocks that have not ended, the newest first.
    pub async fn blocks(&self) -> Result<Vec<Block>, Error> {
        self.store.read().await?.blocks(self.clock.now()).await
    }

    /// Lifts a block: on this server at once, on others within a second. [`Error::NotFound`] when there is none.
    pub async fn lift_block(&self, actor: Actor, id: BlockId) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let lifted = tx.delete_block(id).await?;
            if let Some((network, user)) = &lifted {
                let record = actor.did(Event::BlockLifted, now).to(network);
                tx.record(match user {
                    Some(user) => record.on(*user),
                    None => record,
                });
            }
            tx.commit().await?;
            auth.limiter.lift(id);
            lifted.map(drop).ok_or(Error::NotFound)
        })
        .await
    }
}
