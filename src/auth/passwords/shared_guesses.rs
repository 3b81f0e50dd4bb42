//! What servers on one PostgreSQL tell each other of guesses.
//!
//! Rule: a row says when all slots of a bucket will have come back, whichever servers used them up. It is read before each
//! password is hashed, and written before a wrong one is answered. Guesses that several servers admit at the same moment can be
//! more than there are slots; those beyond have to come back, too. Threat: guessing at each server in turn, with as many passwords
//! at each as one server admits.
//!
//! The ids of the rows are hashes under a key that is not in the database: it does not tell who guessed whose password.

use std::time::Duration;

use tokio::time;

use crate::auth::Auth;
use crate::auth::passwords::limiter::Guess;
use crate::auth::passwords::untold::{News, Untold};
use crate::error::Error;

/// How much longer an answer may take for it. The others are told all the same.
const PATIENCE: Duration = Duration::from_millis(200);
/// Buckets per transaction.
const STEP: usize = 100;

impl Auth {
    /// Learns what other servers know of a guess. It costs a query on PostgreSQL, and nothing on SQLite.
    pub(in crate::auth) async fn learn_of_others(&self, guess: &Guess) -> Result<(), Error> {
        if self.limiter.untold.is_some() {
            let (mut conn, tellings) = (self.store.read().await?, guess.tellings());
            guess.learn(&conn.guesses(&guess.bucket_ids(), self.clock.now()).await?, tellings);
        }
        Ok(())
    }

    /// Tells other servers what they have not been told. When the database takes no writes, each server counts for itself, and
    /// tells the others later.
    pub(in crate::auth) async fn tell_others(&self) {
        if self.limiter.untold.as_ref().is_some_and(|untold| !untold.is_paused()) {
            // Whoever is told later is told all the same.
            let _later = time::timeout(PATIENCE, self.write_guesses()).await;
        }
    }

    /// Writes what other servers have not been told. Call this every few seconds: clients that hang up do not wait for it.
    pub async fn write_guesses(&self) -> Result<(), Error> {
        let Some(untold) = self.limiter.untold.clone() else { return Ok(()) };
        let turn = untold.turn().await;
        let auth = self.clone();
        self.finish(async move {
            let _turn = turn;
            let written = auth.write_all_guesses(&untold).await;
            untold.note_told(written.is_ok());
            written
        })
        .await
    }

    async fn write_all_guesses(&self, untold: &Untold) -> Result<(), Error> {
        loop {
            let (news, now) = (untold.take(STEP), self.clock.now());
            if news.is_empty() {
                return Ok(());
            }
            news.values().for_each(|news| news.bucket.begin_telling());
            let written = async {
                let mut tx = self.store.write().await?;
                let mut told = Vec::new();
                // In the order of their ids, so that two servers cannot wait for each other.
                for (id, of_bucket) in &news {
                    let News { is_cleared, longest, .. } = of_bucket;
                    let used = of_bucket.used(now);
                    told.push((used, tx.note_guesses(*id, *is_cleared, used, *longest, now).await?));
                }
                Ok((tx, told))
            };
            let (told, committed) = match written.await {
                // If this fails they may be told, or not. They are not told again, since it would count twice: what is read next says.
                Ok((tx, told)) => (told, tx.commit().await),
                Err(error) => (Vec::new(), Err(error)),
            };
            let is_put_back = told.is_empty();
            let mut told = told.into_iter();
            news.values().for_each(|news| news.bucket.end_telling(told.next(), news.is_cleared));
            if is_put_back {
                untold.put_back(news, now);
            }
            committed?;
        }
    }
}
