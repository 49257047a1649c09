//! Events of one aggregate that wait in a crowd.
//!
//! A replay, or an outage of the broker, may queue 10,000 events of one aggregate, of which one at a time can run. A claim steps
//! over all the others to find those of other aggregates, each time, unless they are held as followers are in any queue: see
//! [`crate::postgres::holds`]. The trigger lets each go when the one before it leaves.

use std::time::Duration;

use tokio::time::Instant;
use waybill_schema::Pool;

use crate::postgres::holds::hold_followers;

/// How often to look at most, as a worker does for its queues.
const LOOK: Duration = Duration::from_millis(250);
/// Rounds of holding in a row, of 2,000 jobs each: then the batch has its turn.
const ROUNDS: usize = 10;

/// When a pipeline's queue was last looked at, if it was.
#[derive(Default)]
pub(super) struct Crowd(Option<Instant>);

impl Crowd {
    /// Holds what waits behind others of its aggregate, after a claim that was short of a batch: it may have stepped over all of
    /// them. What fails here only leaves the claims slow.
    pub(super) async fn look(&mut self, pool: &Pool, queue: &str) {
        if self.0.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.0 = Some(Instant::now());
        let Ok(mut conn) = pool.get().await else { return };
        for _ in 0..ROUNDS {
            match hold_followers(&mut conn, queue).await {
                Ok(held) if held >= 500 => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(queue, %error, "followers are not held");
                    return;
                }
            }
        }
    }
}
