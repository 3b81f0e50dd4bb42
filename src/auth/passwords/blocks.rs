//! Blocks: networks that the limiter refuses for a while, where operators can see and lift them.
//!
//! Rule: the counters are in the memory of each server (`limiter.rs`); a row in the table of blocks says that one of them is
//! used up. Whoever deletes the row lifts the block: a server that refuses by it looks, at most once a second, whether it is
//! still there. Threat: a block that nobody can see or end, and a flood of refusals that writes to the database.

use std::time::Duration;

use crate::auth::passwords::limiter::Refused;
use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{Block, BlockId, ClientNetwork, Event, Reach, UserId};

/// How often a server looks whether a block was lifted elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Auth {
    /// Whether an operator has deleted the row of this block. When the database does not answer, the block stays.
    pub(in crate::auth) async fn was_lifted(&self, refused: &Refused) -> bool {
        let now = self.clock.now();
        match &mut refused.bucket.lock().block_seen_at {
            Some(seen_at) if seen_at.after(LOOK_EVERY) <= now => *seen_at = now,
            _ => return false,
        }
        let exists = async { self.store.read().await?.has_block(refused.id).await };
        !exists.await.unwrap_or(true)
    }

    /// Writes the row of a block, or how long it lasts now. A failure is logged and does not change the answer.
    pub(in crate::auth) async fn note_block(&self, refused: &Refused, network: ClientNetwork, user: Option<UserId>) {
        let now = self.clock.now();
        let (id, until) = {
            let mut slots = refused.bucket.lock();
            let until = slots.all_free_at(now);
            if slots.noted >= until {
                return;
            }
            slots.noted = until;
            (refused.id, until)
        };
        let reach = if refused.is_of_account { Reach::Account(user) } else { Reach::Any };
        let (auth, block) = (self.clone(), Block { id, network: network.to_string(), reach, since: now, until });
        let noted = self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.upsert_block(&block).await?;
            tx.commit().await
        });
        match noted.await {
            // Only now may the row be missed.
            Ok(()) => refused.bucket.lock().block_seen_at = Some(self.clock.now()),
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
                // The guesses of one account have used that of the network up, too.
                tx.delete_guesses(&[id, auth.limiter.bucket_id(network, None)]).await?;
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
