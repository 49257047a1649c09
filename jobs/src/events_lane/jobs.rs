//! The Postgres source of a pipeline: events that came as jobs, because there is no broker or because they failed.
//!
//! A claim takes at most one job per partition key, the first, so a batch holds one event per aggregate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

use super::{crowd::Crowd, effect::Away, hand_back};
use crate::{
    postgres::{Ask, Claimed, Hints, claims},
    queues,
};

/// Pause while the database is away; doubles from the first to the second.
pub(super) const AWAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Jobs of a pipeline that this process holds.
#[derive(Clone, Default)]
struct InHand(Arc<Mutex<HashMap<Uuid, i64>>>);

impl InHand {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Uuid, i64>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Claims whose jobs have all ended: their rows go with the next claim.
#[derive(Clone, Default)]
struct Over(Arc<Mutex<Vec<i64>>>);

impl Over {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<i64>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Jobs claimed together. Dropped unsettled, they are no longer in hand and the source hands them back.
pub(crate) struct JobBatch {
    pub(super) jobs: Vec<Claimed>,
    in_hand: InHand,
    over: Over,
    /// Frees the source to claim again.
    _place: OwnedSemaphorePermit,
}

impl JobBatch {
    /// All of it has ended.
    pub(super) fn is_over(&self) {
        self.over.change(|over| over.extend(self.jobs.first().map(|job| job.claim_batch)));
    }
}

impl Drop for JobBatch {
    fn drop(&mut self) {
        self.in_hand.change(|held| {
            for job in &self.jobs {
                if held.get(&job.id) == Some(&job.claim) {
                    held.remove(&job.id);
                }
            }
        });
    }
}

/// Claims event jobs of a pipeline, a batch at a time and only when the one before is settled.
#[derive(Clone)]
pub(crate) struct JobSource {
    pub pool: Pool,
    pub pipeline: &'static str,
    pub max_batch: usize,
    pub poll: (Duration, Duration),
    /// In whose name to claim.
    pub worker: watch::Receiver<Option<Uuid>>,
    /// Says when there is work; polling finds it otherwise.
    pub hints: Option<Hints>,
}

impl JobSource {
    /// Sends batches until `stop`; then hands back what nobody has settled.
    pub(crate) async fn run(mut self, out: mpsc::Sender<JobBatch>, stop: CancellationToken) {
        let queue = queues::pipeline_queue(self.pipeline);
        let places = Arc::new(Semaphore::new(1));
        let (in_hand, over) = (InHand::default(), Over::default());
        let mut hints = self.hints.as_ref().map(Hints::subscribe);
        let mut pause = self.poll.0;
        // A claim whose answer was lost may have been made, and a batch may have been dropped.
        let mut strays = true;
        let mut crowd = Crowd::default();
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let Some(worker) = self.identity(&stop).await else { break };
            let claimed = self.claim(&queue, worker, &in_hand, &over, &mut strays).await;
            let found = claimed.as_ref().map_or(0, Vec::len);
            // Before the batch is handled: that locks those in front, of whose crowds none could be held then.
            if found < self.max_batch {
                crowd.look(&self.pool, &queue).await;
            }
            match claimed {
                Ok(jobs) if !jobs.is_empty() => {
                    pause = self.poll.0;
                    in_hand.change(|held| held.extend(jobs.iter().map(|job| (job.id, job.claim))));
                    let batch =
                        JobBatch { jobs, in_hand: in_hand.clone(), over: over.clone(), _place: place };
                    if out.send(batch).await.is_err() {
                        break;
                    }
                }
                Ok(_) => drop(place),
                Err(Away) => {
                    strays = true;
                    pause = pause.max(AWAY.0);
                }
            }
            // A full claim says that there is more; so may a short one be, as it takes one job per key.
            if found == 0 {
                wait(&queue, pause, &mut hints, &stop).await;
                pause = (pause * 2).min(self.poll.1);
            }
        }
        // Until the last batch is settled or dropped.
        let _ = places.acquire().await;
        drop(out);
        self.hand_back(&queue, &in_hand).await;
    }

    /// The name to claim in, once there is one.
    async fn identity(&mut self, stop: &CancellationToken) -> Option<Uuid> {
        tokio::select! {
            () = stop.cancelled() => None,
            worker = self.worker.wait_for(Option::is_some) => worker.ok().and_then(|worker| *worker),
        }
    }

    async fn claim(
        &self,
        queue: &str,
        worker: Uuid,
        in_hand: &InHand,
        over: &Over,
        strays: &mut bool,
    ) -> Result<Vec<Claimed>, Away> {
        let mut conn = self.pool.get().await.map_err(|_| Away)?;
        if *strays {
            let held = in_hand.change(|held| held.keys().copied().collect::<Vec<_>>());
            hand_back::strays(&mut conn, queue, worker, &held).await.map_err(away)?;
            *strays = false;
        }
        let rows = over.change(|over| over.clone());
        let ask = Ask { queue, worker, limit: self.max_batch, after: None, over: &rows };
        let claimed = claims(&mut conn, &ask).await.map_err(away)?;
        over.change(|over| over.retain(|row| !rows.contains(row)));
        Ok(claimed.jobs)
    }

    async fn hand_back(&self, queue: &str, in_hand: &InHand) {
        let Some(worker) = *self.worker.borrow() else { return };
        let held = in_hand.change(|held| held.keys().copied().collect::<Vec<_>>());
        let handed = async {
            let mut conn = self.pool.get().await.map_err(|error| error.to_string())?;
            hand_back::strays(&mut conn, queue, worker, &held).await.map_err(|error| error.to_string())
        };
        if let Err(error) = handed.await {
            tracing::warn!(queue, error, "event jobs not handed back, others take them over");
        }
    }
}

/// Until a hint for the queue, or the pause is over.
async fn wait(
    queue: &str,
    pause: Duration,
    hints: &mut Option<tokio::sync::broadcast::Receiver<String>>,
    stop: &CancellationToken,
) {
    let hinted = async {
        if let Some(hints) = hints {
            loop {
                match hints.recv().await {
                    Ok(name) if name != queue => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                    _ => return,
                }
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause.mul_f64(0.75 + rand::random::<f64>() / 2.0)) => {}
        () = hinted => {}
    }
}

pub(super) fn away(error: diesel::result::Error) -> Away {
    tracing::warn!(%error, "event jobs wait for the database");
    Away
}
