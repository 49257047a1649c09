//! The Postgres consumer of a pipeline: what becomes of events that came as jobs.

use std::sync::Arc;

use diesel::QueryResult;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use waybill_schema::Conn;

use super::{
    effect::{Away, Left, Stage},
    item::{self, Item, Place, Ticket},
    jobs::{AWAY, JobBatch, away},
    meter,
    newer::{self, Reads},
};
use crate::{
    contract::{Failure, Policy},
    emit::EventEnvelope,
    postgres::{Claimed, PutBack, Resolution, bury, put_back},
    runtime::after_failure,
    trace,
};

/// Handles batches of event jobs.
#[derive(Clone)]
pub(crate) struct JobConsumer {
    pub stage: Stage,
    pub policy: Policy,
    pub stop: CancellationToken,
}

impl JobConsumer {
    /// Brings every job of the batch to an end.
    pub(crate) async fn consume(self: Arc<Self>, batch: JobBatch) {
        let span = tracing::info_span!(
            "events",
            otel.kind = "consumer",
            pipeline = self.stage.pipeline.name(),
            lane = "postgres",
            events = batch.jobs.len()
        );
        trace::link(&span, batch.jobs.iter().filter_map(|job| job.traceparent.as_deref()));
        self.settle(batch).instrument(span).await;
    }

    async fn settle(&self, batch: JobBatch) {
        let (mut pause, mut before) = (AWAY.0, 0);
        loop {
            if self.handle(&batch.jobs, before).await.is_ok() {
                batch.is_over();
                return;
            }
            before += 1;
            tracing::warn!("event jobs wait for the database");
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(AWAY.1);
        }
    }

    async fn handle(&self, jobs: &[Claimed], before: u32) -> Result<(), Away> {
        let name = self.stage.pipeline.name();
        let (mut items, mut ends, mut unknown) = (Vec::with_capacity(jobs.len()), Vec::new(), Vec::new());
        for job in jobs {
            let ticket =
                Ticket { id: job.id, claim: job.claim, attempt: job.attempt, max_attempts: job.max_attempts };
            match item::read(job.payload.as_bytes()) {
                Ok(event) => match newer::reads(self.stage.pipeline.as_ref(), &event) {
                    Reads::Yes => items.push(Item { event, place: Place::Job(ticket) }),
                    Reads::NewerVersion => ends.push((ticket, newer::aside(&event, job.snoozes))),
                    Reads::UnknownTopic => unknown.push((ticket, event, job.snoozes)),
                },
                Err(error) => {
                    let failure = Failure::permanent(format!("the event cannot be read: {error}"));
                    ends.push((ticket, self.resolve(&ticket, failure)));
                    meter::handled(name, self.stage.lane, "unreadable", 1);
                }
            }
        }
        ends.extend(self.of_another_release(unknown).await?);
        for (item, left) in self.stage.handle(items, before).await? {
            let Place::Job(ticket) = item.place else { continue };
            let resolution = match left {
                Left::Failed(failure) => {
                    meter::handled(name, self.stage.lane, "failed", 1);
                    tracing::warn!(event = %item.event.id, attempt = ticket.attempt, error = %failure.message,
                        "event failed");
                    self.resolve(&ticket, failure)
                }
                Left::Behind | Left::Newer => Resolution::HAND_BACK,
            };
            ends.push((ticket, resolution));
        }
        if ends.is_empty() {
            return Ok(());
        }
        let mut conn = self.stage.pool.get().await.map_err(|_| Away)?;
        store(&mut conn, ends).await.map_err(away)
    }

    /// Puts aside what a newer release wants. What none wants any more is a dead letter: somebody was to have it.
    async fn of_another_release(
        &self,
        jobs: Vec<(Ticket, EventEnvelope, i32)>,
    ) -> Result<Vec<(Ticket, Resolution)>, Away> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.stage.pipeline.as_ref();
        let mut conn = self.stage.pool.get().await.map_err(|_| Away)?;
        let events = jobs.iter().map(|(_, event, _)| event);
        let wanted = newer::wanted(&mut conn, pipeline, events).await.map_err(away)?;
        let resolution = |ticket: &Ticket, event: &EventEnvelope, snoozes| {
            if wanted.contains(&event.topic) {
                return newer::aside(event, snoozes);
            }
            let failure =
                format!("no release has said for a day that the pipeline reacts to {}", event.topic);
            self.resolve(ticket, Failure::permanent(failure))
        };
        Ok(jobs
            .iter()
            .map(|(ticket, event, snoozes)| (*ticket, resolution(ticket, event, *snoozes)))
            .collect())
    }

    fn resolve(&self, ticket: &Ticket, failure: Failure) -> Resolution {
        after_failure(ticket.attempt, ticket.max_attempts, &self.policy, "failed", failure)
    }
}

/// Makes ends durable; those of lost claims change nothing.
async fn store(conn: &mut Conn, ends: Vec<(Ticket, Resolution)>) -> QueryResult<()> {
    let (mut back, mut dead) = (Vec::new(), Vec::new());
    for (Ticket { id, claim, .. }, resolution) in ends {
        match resolution {
            Resolution::Back { delay, refund, snooze, entry } => {
                back.push(PutBack { id, claim, delay, refund, snooze, entry });
            }
            Resolution::Dead { entry, reason } => dead.push((id, claim, entry, reason)),
            // A failed or unread event is never over.
            Resolution::Over(_) => {}
        }
    }
    if !back.is_empty() {
        put_back(conn, &back).await?;
    }
    if !dead.is_empty() {
        bury(conn, &dead).await?;
    }
    Ok(())
}
