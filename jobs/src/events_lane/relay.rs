//! The relay: from the outbox to a lane.

use std::{sync::Arc, time::Duration};

use diesel::QueryResult;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use futures::StreamExt as _;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::{
    backlog,
    broker::Link,
    choice::{Choice, Health},
    config::EventsConfig,
    item::Lane,
    meter,
    outbox::Routes,
    publish::Publisher,
    refusals::Refusals,
    shards::Shards,
    switch,
    topology::Topology,
};
use crate::postgres::{self, LinkError, Notifier};

/// A statement that takes longer has lost its connection.
const STATEMENT_LIMIT: Duration = Duration::from_mins(1);
/// Longest pause between two statements of a relay that lives, waiting for the broker apart; it polls twice a second.
const SILENCE: Duration = Duration::from_secs(15);
/// Plans are cached, and one made while the outbox was empty is used when it is full. So only those are allowed that are
/// good for any number: along the index, row by row, until the limit. Bitmaps stay, block range indexes need them.
const TUNING: &str = "set enable_seqscan = off; set enable_sort = off; set enable_hashjoin = off;
     set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan";

/// How often shards are balanced between relays.
const BALANCE_EVERY: Duration = Duration::from_secs(1);
/// How often the mark of what is settled is moved along; doubles up to the second while something stays unhandled.
const SETTLE_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How often the outbox is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Pause before a new connection to the database; doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A relay and what it needs.
pub(crate) struct Relay {
    pub database_url: String,
    pub config: EventsConfig,
    pub routes: Routes,
    /// The broker to publish to, if one is configured.
    pub link: Option<Link>,
    pub topology: Arc<Topology>,
    /// Wakes the consumers of what becomes jobs.
    pub notifier: Option<Notifier>,
    /// This process' row in `workers`, which shows the lane.
    pub worker: watch::Receiver<Option<Uuid>>,
}

impl Relay {
    /// Runs until `stop`. The database may go and come back.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pause = BACKOFF.0;
        let mut health = Health::new(self.config.down_after);
        while !stop.is_cancelled() {
            let started = Instant::now();
            match self.session(&mut health, &stop).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "relay lost its database connection"),
            }
            if started.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
        meter::lane(None);
    }

    async fn session(&mut self, health: &mut Health, stop: &CancellationToken) -> Result<(), LinkError> {
        let mut conn = postgres::link::connect(&self.database_url).await?;
        // A relay that hangs, or is cut off, would keep its shards as long as the server takes its connection for alive, and
        // nobody would relay them. So its locks have a lease: the longest it is silent is while it waits for the broker.
        let lease = SILENCE + 2 * self.config.down_after;
        conn.batch_execute(&format!("set idle_session_timeout = {}", lease.as_millis())).await?;
        Shards::announce(&mut conn).await?;
        conn.batch_execute(TUNING).await?;
        sql("listen waybill_jobs").execute(&mut conn).await?;
        let mut session = Session {
            refusals: Refusals::new(self.config.down_after),
            relay: self,
            conn,
            shards: Shards::default(),
            publisher: None,
            shown: None,
            balanced: None,
            measured: None,
            settled: (Instant::now(), SETTLE_EVERY.0),
        };
        session.run(health, stop).await
    }
}

/// A relay with its connection.
pub(super) struct Session<'r> {
    pub(super) relay: &'r mut Relay,
    pub(super) conn: Conn,
    pub(super) refusals: Refusals,
    pub(super) shards: Shards,
    pub(super) publisher: Option<Publisher>,
    shown: Option<(Lane, String, Option<Uuid>)>,
    balanced: Option<Instant>,
    measured: Option<Instant>,
    settled: (Instant, Duration),
}

impl Session<'_> {
    async fn run(&mut self, health: &mut Health, stop: &CancellationToken) -> Result<(), LinkError> {
        let (shortest, longest) = self.relay.config.poll;
        let mut pause = shortest;
        while !stop.is_cancelled() {
            let moved = tokio::time::timeout(STATEMENT_LIMIT, self.step(health))
                .await
                .map_err(|_| LinkError::TimedOut(STATEMENT_LIMIT))??;
            if moved > 0 {
                pause = shortest;
                if i64::try_from(moved).unwrap_or(i64::MAX) >= self.relay.config.relay_batch {
                    continue;
                }
            }
            self.wait(pause, stop).await;
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }

    /// Until a hint, or the pause is over. The connection must be in use by nobody else: locks and hints live on it.
    async fn wait(&mut self, pause: Duration, stop: &CancellationToken) {
        let hinted = async {
            let mut hints = std::pin::pin!(self.conn.notifications_stream());
            while let Some(hint) = hints.next().await {
                if hint.is_ok_and(|hint| hint.payload == super::OUTBOX_HINT) {
                    return;
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

    /// Moves one batch; answers with its size.
    async fn step(&mut self, health: &mut Health) -> QueryResult<usize> {
        if self.balanced.is_none_or(|at| at.elapsed() >= BALANCE_EVERY) {
            self.shards.balance(&mut self.conn).await?;
            self.balanced = Some(Instant::now());
        }
        if self.measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            let outbox = backlog::outbox(&mut self.conn).await?;
            meter::outbox(
                outbox.iter().map(|shard| shard.events).sum(),
                outbox.iter().map(|shard| shard.oldest_seconds).fold(0.0, f64::max),
            );
            self.measured = Some(Instant::now());
        }
        match health.choose(self.relay.link.as_ref()) {
            Choice::Wait => Ok(0),
            Choice::Amqp(connection) => {
                self.show(Lane::Amqp, "").await?;
                self.publish(health, connection).await
            }
            Choice::Postgres(reason) => {
                self.show(Lane::Postgres, &reason).await?;
                self.hand_over(&reason).await
            }
        }
    }

    /// Moves the mark of what the broker's consumers have settled.
    pub(super) async fn settle(&mut self) -> QueryResult<()> {
        let (at, pause) = self.settled;
        if at.elapsed() < pause {
            return Ok(());
        }
        let all = switch::settle(&mut self.conn, &self.shards.on(Lane::Amqp)).await?;
        let pause = if all { SETTLE_EVERY.0 } else { (pause * 2).min(SETTLE_EVERY.1) };
        self.settled = (Instant::now(), pause);
        Ok(())
    }

    /// Makes the lane visible: in this process' row in `workers`, and as a metric.
    async fn show(&mut self, lane: Lane, reason: &str) -> QueryResult<()> {
        let worker = *self.relay.worker.borrow();
        let now = (lane, reason.to_owned(), worker);
        if self.shown.as_ref() == Some(&now) {
            return Ok(());
        }
        meter::lane(Some(lane));
        if let Some(worker) = worker {
            sql("update workers set event_lane = $2, event_lane_reason = nullif($3, '') where id = $1")
                .bind::<diesel::sql_types::Uuid, _>(worker)
                .bind::<diesel::sql_types::Text, _>(lane.as_str())
                .bind::<diesel::sql_types::Text, _>(reason)
                .execute(&mut self.conn)
                .await?;
        }
        if self.shown.as_ref().is_none_or(|shown| shown.0 != lane) {
            tracing::info!(lane = lane.as_str(), reason, "relay takes the lane");
        }
        self.shown = Some(now);
        Ok(())
    }
}
