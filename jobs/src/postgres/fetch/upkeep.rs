//! What a worker's claimer does for others and for later, a statement at a time, so that no claim waits for more than one.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        holds::{hold_followers, hold_kinds, let_go, tidy},
        link::LinkError,
        promote::promote,
    },
    Fetcher, LIMIT,
};
use crate::control::{Places as Override, places};

/// How often scheduled jobs are looked for that nobody in this process knows of.
pub(super) const PROMOTE: Duration = Duration::from_millis(250);
/// How often to put right what the quick ways leave.
pub(super) const TIDY: Duration = Duration::from_secs(5);
/// Rounds of holding in a row, of 2,000 jobs each: then others have their turn.
const ROUNDS: usize = 10;
/// How often to look whether operators want another number of jobs at a time.
const PLACES: Duration = Duration::from_millis(500);

impl Fetcher {
    /// The thing that has been due for longest, if any is.
    pub(super) async fn upkeep(&mut self) -> Result<(), LinkError> {
        if self.to_hold > 0 {
            self.to_hold -= 1;
            return self.hold(self.to_hold, false).await;
        }
        let first = self.promote_at.min(self.holds_at).min(self.tidy_at);
        if first > Instant::now() {
            Ok(())
        } else if first == self.promote_at {
            self.promote().await
        } else if first == self.holds_at {
            self.let_go().await
        } else {
            self.tidy().await
        }
    }

    /// When the next thing is due.
    pub(super) fn upkeep_at(&self) -> Instant {
        if self.to_hold > 0 { Instant::now() } else { self.promote_at.min(self.holds_at) }
    }

    /// Takes jobs that cannot run out of the next claims' way.
    pub(super) async fn hold(&mut self, index: usize, followers: bool) -> Result<(), LinkError> {
        let name = Arc::clone(&self.queues[index].name);
        if followers {
            self.queues[index].looked = Instant::now();
        }
        self.link
            .run(LIMIT, |mut conn| async move {
                let held = async {
                    for _ in 0..ROUNDS {
                        let mut held = hold_kinds(&mut conn, &name).await?;
                        if followers {
                            held += hold_followers(&mut conn, &name).await?;
                        }
                        if held < 500 {
                            break;
                        }
                    }
                    Ok(())
                }
                .await;
                (conn, held)
            })
            .await
    }

    /// Takes up how many jobs operators want to run at a time.
    pub(super) async fn resize(&mut self) -> Result<(), LinkError> {
        self.places_at = Instant::now() + PLACES;
        let wanted: Vec<Override> = self
            .link
            .run(LIMIT, |mut conn| async move {
                let wanted = places(&mut conn).await;
                (conn, wanted)
            })
            .await?;
        let worker = self.session.id();
        for queue in &mut self.queues {
            let of = |id| wanted.iter().find(|row| row.queue == *queue.name && row.worker_id == id);
            let places = of(Some(worker)).or_else(|| of(None)).map(|row| row.places);
            let configured = queue.configured;
            queue.resize(places.map_or(configured, |places| usize::try_from(places).unwrap_or(0)));
            self.session.set_places(&queue.name, configured, queue.concurrency);
        }
        Ok(())
    }

    /// Lets go what is held without a reason any more, and has held what must wait now.
    async fn let_go(&mut self) -> Result<(), LinkError> {
        let gone = self
            .link
            .run(LIMIT, |mut conn| async move {
                let gone = let_go(&mut conn).await;
                (conn, gone)
            })
            .await?;
        self.holds_at = Instant::now() + if gone.more { Duration::ZERO } else { PROMOTE };
        for queue in gone.queues {
            self.due_now(&queue);
            self.notifier.hint(&queue);
        }
        self.to_hold = self.queues.len();
        Ok(())
    }

    /// Puts right what the quick ways leave.
    async fn tidy(&mut self) -> Result<(), LinkError> {
        self.tidy_at = Instant::now() + TIDY;
        self.link
            .run(LIMIT, |mut conn| async move {
                let done = tidy(&mut conn).await;
                (conn, done)
            })
            .await
    }

    /// Queues what is due.
    async fn promote(&mut self) -> Result<(), LinkError> {
        let promoted = self
            .link
            .run(LIMIT, |mut conn| async move {
                let promoted = promote(&mut conn).await;
                (conn, promoted)
            })
            .await?;
        let pause = promoted.next_in.map_or(PROMOTE, |next| next.min(PROMOTE));
        // A job due in 10 ms gets its own round then; without a floor a stream of them would be one round each.
        self.promote_at = Instant::now() + pause.max(Duration::from_millis(2));
        for queue in promoted.queues {
            self.due_now(&queue);
            self.notifier.hint(&queue);
        }
        Ok(())
    }
}
