//! The task that looks after the flows of this worker's jobs.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;
use waybill_schema::Pool;

use super::settle::{Looked, settle};
use crate::postgres::Notifier;

/// Flows waiting to be looked after. What does not fit is found by the sweep.
const CAPACITY: usize = 4_096;

/// When a flow that somebody else has locked is tried again. As a rule another worker looks after it, which takes a few
/// milliseconds, and may have asked the tables before our job's end was committed.
const AGAIN: Duration = Duration::from_millis(10);

/// How long it is tried; then it is left to the sweep, which comes as often.
const TRIED_FOR: Duration = Duration::from_secs(1);

/// Says that a job of a flow is over. Clones share the task, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Settler(mpsc::Sender<Uuid>);

impl Settler {
    /// Starts the task. Must be called inside a tokio runtime.
    pub(crate) fn start(pool: Pool, notifier: Notifier) -> Self {
        let (send, receive) = mpsc::channel(CAPACITY);
        tokio::spawn(run(pool, notifier, receive));
        Self(send)
    }

    /// After the commit of the outcome. Never waits, never fails.
    pub(crate) fn ended(&self, flow: Uuid) {
        let _ = self.0.try_send(flow);
    }
}

async fn run(pool: Pool, notifier: Notifier, mut ended: mpsc::Receiver<Uuid>) {
    let mut flows = Vec::new();
    // Those that were locked, and until when to try.
    let mut taken: HashMap<Uuid, Instant> = HashMap::new();
    loop {
        // Many jobs of a batch end while one statement runs; they are asked about once.
        let more = ended.recv_many(&mut flows, CAPACITY);
        let open = if taken.is_empty() { Ok(more.await) } else { timeout(AGAIN, more).await };
        if open == Ok(0) {
            return;
        }
        flows.extend(taken.keys());
        flows.sort_unstable();
        flows.dedup();
        let looked = match pool.get().await {
            Ok(mut conn) => settle(&mut conn, &flows).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let now = Instant::now();
        match looked {
            Ok(Looked { queues, taken: again, .. }) => {
                for queue in &queues {
                    notifier.hint(queue);
                }
                taken = again
                    .into_iter()
                    .map(|flow| (flow, taken.get(&flow).copied().unwrap_or(now + TRIED_FOR)))
                    .filter(|(_, until)| *until > now)
                    .collect();
            }
            Err(error) => {
                tracing::warn!(error, "flows are left to the sweep");
                taken.clear();
            }
        }
        flows.clear();
    }
}
