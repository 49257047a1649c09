//! The task that looks after the flows of this worker's jobs.

use tokio::sync::mpsc;
use uuid::Uuid;
use waybill_schema::Pool;

use super::settle;
use crate::postgres::Notifier;

/// Flows waiting to be looked after. What does not fit is found by the sweep.
const CAPACITY: usize = 4_096;

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
    // Many jobs of a batch end while one statement runs; they are asked about once.
    while ended.recv_many(&mut flows, CAPACITY).await > 0 {
        flows.sort_unstable();
        flows.dedup();
        let settled = match pool.get().await {
            Ok(mut conn) => settle(&mut conn, &flows).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match settled {
            Ok(queues) => queues.iter().for_each(|queue| notifier.hint(queue)),
            Err(error) => tracing::warn!(error, "flows are left to the sweep"),
        }
        flows.clear();
    }
}
