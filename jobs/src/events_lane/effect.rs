//! The one way in which events are handled, whichever lane they came on.

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use diesel_async::{AsyncConnection, RunQueryDsl, pooled_connection::PoolableConnection as _};
use futures::FutureExt as _;
use uuid::Uuid;
use waybill_schema::{Conn, Pool, sql};

use super::{
    inbox,
    item::{Item, Lane, Place, partition_key},
    meter,
};
use crate::{
    contract::Failure,
    emit::EventEnvelope,
    pipeline::Pipeline,
    postgres::{self, Notifier, touched},
    queues,
};

/// Failures in a row, with no success among them, after which the rest of a batch is not tried one by one: it is not the
/// events that fail but something they all need, and each would wait for it in vain.
const GIVE_UP_AFTER: usize = 5;

/// The database does not answer. Nothing is to be concluded about the events: wait, and try them all again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// Why an event is not handled.
#[derive(Debug)]
pub(crate) enum Left {
    /// It was tried.
    Failed(Failure),
    /// An earlier event of its aggregate failed.
    Behind,
    /// Only a newer release reads it, or one before it of its aggregate.
    Newer,
}

/// Times that a connection may break under the same events before it is held against them: once is a restart of the
/// database, but a statement can also crash its server process.
const BLAME_AFTER: u32 = 5;

/// A failed attempt.
struct Trouble {
    failure: Failure,
    /// There was no connection, or it broke.
    disconnected: bool,
}

impl Trouble {
    fn disconnected(error: impl std::error::Error) -> Self {
        Self { failure: error.into(), disconnected: true }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, disconnected: false }
    }
}

/// A pipeline and what it needs.
#[derive(Clone)]
pub(crate) struct Stage {
    pub pipeline: Arc<dyn Pipeline>,
    pub pool: Pool,
    pub lane: Lane,
    /// Wakes who waits for what the events cause.
    pub notifier: Option<Notifier>,
    /// Limit of `prepare` and of `apply`, each.
    pub timeout: Duration,
    /// Parts of a batch handled at a time.
    pub parts: usize,
}

impl Stage {
    /// Handles events; answers with those that are left, in order. Events of one aggregate are handled in order.
    /// `before` is how often the same events were handled in vain because the database was away.
    pub(crate) async fn handle(&self, items: Vec<Item>, before: u32) -> Result<Vec<(Item, Left)>, Away> {
        let excuse = before < BLAME_AFTER;
        if self.parts <= 1 || items.len() <= 1 {
            return self.part(items, excuse).await;
        }
        let mut parts: Vec<Vec<Item>> = (0..self.parts).map(|_| Vec::new()).collect();
        for item in items {
            let part = item.event.aggregate_id.as_u128() % self.parts as u128;
            parts[usize::try_from(part).unwrap_or_default()].push(item);
        }
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|part| self.part(part, excuse));
        let mut left = Vec::new();
        for part in futures::future::join_all(parts).await {
            left.extend(part?);
        }
        Ok(left)
    }

    /// All together; if that fails, each alone.
    async fn part(&self, mut items: Vec<Item>, excuse: bool) -> Result<Vec<(Item, Left)>, Away> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let Err(trouble) = self.attempt(&items).await else { return Ok(Vec::new()) };
        let failure = self.blame(trouble, excuse).await?;
        if items.len() == 1 {
            return Ok(items.pop().map(|item| (item, Left::Failed(failure))).into_iter().collect());
        }
        tracing::warn!(pipeline = self.pipeline.name(), lane = self.lane.as_str(), events = items.len(),
            error = %failure.message, "batch failed, trying its events one by one");
        self.one_by_one(items, &failure, excuse).await
    }

    /// The failure, if the events are to blame for it.
    async fn blame(&self, trouble: Trouble, excuse: bool) -> Result<Failure, Away> {
        if (trouble.disconnected && excuse) || !self.database_answers().await {
            return Err(Away);
        }
        Ok(trouble.failure)
    }

    async fn one_by_one(
        &self,
        items: Vec<Item>,
        batch: &Failure,
        excuse: bool,
    ) -> Result<Vec<(Item, Left)>, Away> {
        let mut left: Vec<(Item, Left)> = Vec::new();
        let mut failed_keys = HashSet::new();
        let (mut failures, mut success) = (0, false);
        for item in items {
            let key = partition_key(self.pipeline.name(), &item.event);
            if failed_keys.contains(&key) {
                left.push((item, Left::Behind));
                continue;
            }
            let failure = if failures >= GIVE_UP_AFTER && !success {
                Failure { message: batch.message.clone(), retryable: true }
            } else if let Err(trouble) = self.attempt(std::slice::from_ref(&item)).await {
                self.blame(trouble, excuse).await?
            } else {
                success = true;
                continue;
            };
            failures += 1;
            failed_keys.insert(key);
            left.push((item, Left::Failed(failure)));
        }
        Ok(left)
    }

    /// Handles events, all or none.
    async fn attempt(&self, items: &[Item]) -> Result<(), Trouble> {
        let name = self.pipeline.name();
        let mut events: Vec<EventEnvelope> = items.iter().map(|item| item.event.clone()).collect();
        let tickets: Vec<(Uuid, i64)> = items
            .iter()
            .filter_map(|item| match item.place {
                Place::Job(ticket) => Some((ticket.id, ticket.claim)),
                Place::Message { .. } => None,
            })
            .collect();
        if self.lane == Lane::Postgres {
            // Messages were looked up when they were received; a job may carry an event that came by the broker too.
            let mut conn = self.pool.get().await.map_err(Trouble::disconnected)?;
            let handled = inbox::handled(&mut conn, name, &events).await.map_err(Trouble::disconnected)?;
            events.retain(|event| !handled.contains(&event.id));
        }
        if !events.is_empty() {
            self.guarded("prepare", self.pipeline.prepare(&events, &self.pool)).await?;
        }

        let mut conn = self.pool.get().await.map_err(Trouble::disconnected)?;
        let conn: &mut Conn = &mut conn;
        let transaction = conn.transaction(async |conn: &mut Conn| -> Result<usize, Failure> {
            if !tickets.is_empty() {
                self.complete(conn, items, &tickets, &mut events).await?;
            }
            self.apply(conn, events).await
        });
        let (outcome, queues) = touched::collect(transaction).await;
        let applied = outcome.map_err(|failure| Trouble { failure, disconnected: conn.is_broken() })?;
        if let Some(notifier) = &self.notifier {
            for queue in &queues {
                notifier.hint(queue);
            }
        }
        meter::handled(name, self.lane, "done", applied);
        meter::handled(name, self.lane, "duplicate", items.len() - applied);
        Ok(())
    }

    /// Completes the jobs that carry the events. Those that are no longer ours are left to whoever has them now.
    async fn complete(
        &self,
        conn: &mut Conn,
        items: &[Item],
        tickets: &[(Uuid, i64)],
        events: &mut Vec<EventEnvelope>,
    ) -> Result<(), Failure> {
        let results = vec![None; tickets.len()];
        let ours = postgres::complete::complete_done(conn, tickets, &results).await?;
        if ours.len() < tickets.len() {
            let ours: HashSet<Uuid> = ours.into_iter().collect();
            let lost: HashSet<Uuid> = items
                .iter()
                .filter(|item| matches!(item.place, Place::Job(ticket) if !ours.contains(&ticket.id)))
                .map(|item| item.event.id)
                .collect();
            events.retain(|event| !lost.contains(&event.id));
        }
        Ok(())
    }

    /// Writes the inbox rows and has the pipeline apply what had none; answers with their number.
    async fn apply(&self, conn: &mut Conn, mut events: Vec<EventEnvelope>) -> Result<usize, Failure> {
        if events.is_empty() {
            return Ok(0);
        }
        let fresh = inbox::insert(conn, self.pipeline.name(), self.lane, &events).await?;
        if fresh.len() < events.len() {
            events.retain(|event| fresh.contains(&event.id));
        }
        if !events.is_empty() {
            self.guarded("apply", self.pipeline.apply(&events, conn)).await?;
        }
        Ok(events.len())
    }

    /// Runs the pipeline's code: a panic or an endless wait is a failure of the events, not of the consumer.
    async fn guarded<F>(&self, step: &str, work: F) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        match tokio::time::timeout(self.timeout, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                Err(Failure::retryable(format!("panic in {step}: {}", panic_text(panic.as_ref()))))
            }
            Err(_) => Err(Failure::retryable(format!("{step} took longer than {:?}", self.timeout))),
        }
    }

    /// Says that the pipeline has event jobs.
    pub(crate) fn hint(&self) {
        if let Some(notifier) = &self.notifier {
            notifier.hint(&queues::pipeline_queue(self.pipeline.name()));
        }
    }

    /// Whether a failure may be held against the events.
    pub(crate) async fn database_answers(&self) -> bool {
        let probe = async {
            let mut conn = self.pool.get().await.map_err(|_| Away)?;
            sql("select 1").execute(&mut conn).await.map_err(|_| Away)
        };
        matches!(tokio::time::timeout(Duration::from_secs(5), probe).await, Ok(Ok(_)))
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
