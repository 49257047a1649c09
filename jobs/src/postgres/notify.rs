//! Hints that a queue has work. Polling is the truth; a hint that is lost costs up to a second.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use diesel::sql_types::{Array, Text};
use diesel_async::RunQueryDsl;
use tokio::sync::{broadcast, mpsc};
use waybill_schema::Pool;

/// The channel of LISTEN and NOTIFY; the payload is a queue's name.
pub const CHANNEL: &str = "waybill_jobs";

/// The payload that says that running jobs were asked to end. No queue has this name.
pub(crate) const ASKED: &str = "!asked";

/// The pause after a NOTIFY of a queue, shortest and longest: commits with a NOTIFY wait for each other, whatever database
/// they are for. A caller's commit never does, since hints have a transaction of their own. It doubles while hints come more
/// often than every second pause: then workers claim again and again anyway, and better collected. A queue with fifty
/// jobs a second stays near the shortest; with 50 ms for all, half of its jobs waited for 20 ms and more.
const QUIET: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));

/// Hints waiting to be sent or heard. When it overflows, hints are lost, which polling makes good.
const CAPACITY: usize = 1_024;

/// Hints inside one process: who sends, sends a queue's name; who waits for work, subscribes.
#[derive(Debug, Clone)]
pub struct Hints(broadcast::Sender<String>);

impl Default for Hints {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Hints {
    /// Wakes who waits for `queue` in this process.
    pub fn send(&self, queue: &str) {
        // The only error is that nobody listens.
        let _ = self.0.send(queue.to_owned());
    }

    /// Names of queues with work, of all queues. A lagging receiver must take it that all have work.
    pub fn subscribe(&self) -> broadcast::Receiver<String> {
        self.0.subscribe()
    }
}

/// Tells every process that a queue has work, at most once per queue in 2 ms (20 ms under load), on a connection and in a
/// transaction of its own. One per process; clones share it. Its task ends with the last clone.
///
/// Call [`hint`](Self::hint) after the commit of the transaction that enqueued. Without a hint the job is found by polling.
#[derive(Debug, Clone)]
pub struct Notifier {
    local: Hints,
    remote: mpsc::Sender<String>,
}

impl Notifier {
    /// Starts the task that sends. Must be called inside a tokio runtime.
    pub fn start(pool: Pool) -> Self {
        let (remote, queue) = mpsc::channel(CAPACITY);
        tokio::spawn(send(pool, queue));
        Self { local: Hints::default(), remote }
    }

    /// Says that `queue` has work. Never waits, never fails.
    pub fn hint(&self, queue: &str) {
        self.local.send(queue);
        let _ = self.remote.try_send(queue.to_owned());
    }

    /// The hints of this process.
    pub fn hints(&self) -> &Hints {
        &self.local
    }
}

/// When a queue was last announced, and how long it is quiet after that.
#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    quiet: Duration,
}

impl Sent {
    fn due(&self) -> Instant {
        self.at + self.quiet
    }

    /// The next one, at `at`.
    fn next(last: Option<Self>, at: Instant) -> Self {
        let quiet = match last {
            Some(last) if at.duration_since(last.at) < last.quiet * 2 => (last.quiet * 2).min(QUIET.1),
            _ => QUIET.0,
        };
        Self { at, quiet }
    }
}

async fn send(pool: Pool, mut hinted: mpsc::Receiver<String>) {
    let mut sent: HashMap<String, Sent> = HashMap::new();
    let mut waiting: Vec<String> = Vec::new();
    let mut batch = Vec::new();
    loop {
        let due = waiting.iter().filter_map(|queue| sent.get(queue)).map(Sent::due).min();
        tokio::select! {
            received = hinted.recv_many(&mut batch, CAPACITY) => {
                if received == 0 { return }
                for queue in batch.drain(..) {
                    if !waiting.contains(&queue) {
                        waiting.push(queue);
                    }
                }
            }
            () = sleep_until(due) => {}
        }
        let now = Instant::now();
        let (ready, later): (Vec<_>, Vec<_>) =
            waiting.drain(..).partition(|queue| sent.get(queue).is_none_or(|last| now >= last.due()));
        waiting = later;
        if ready.is_empty() {
            continue;
        }
        if let Err(error) = notify(&pool, &ready).await {
            tracing::debug!(%error, "hint not sent; workers will find the jobs by polling");
        }
        let now = Instant::now();
        for queue in ready {
            let next = Sent::next(sent.get(&queue).copied(), now);
            sent.insert(queue, next);
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("no connection: {0}")]
    Pool(String),
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
}

/// A hint need not survive the server's crash, so its commit does not wait for the disk.
async fn notify(pool: &Pool, queues: &[String]) -> Result<(), NotifyError> {
    let mut conn = pool.get().await.map_err(|error| NotifyError::Pool(error.to_string()))?;
    waybill_schema::sql(
        "with quick as materialized (select set_config('synchronous_commit', 'off', true))
         select pg_notify($1, queue) from quick, unnest($2) as t(queue)",
    )
    .bind::<Text, _>(CHANNEL)
    .bind::<Array<Text>, _>(queues)
    .execute(&mut conn)
    .await?;
    Ok(())
}
