//! What a relay does with a batch: publish it, or make jobs of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use diesel::QueryResult;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    choice::Health,
    item::Lane,
    meter,
    outbox::{self, Handed, Outgoing, Which},
    publish::{Published, Publisher},
    refusals::Sorted,
    relay::Session,
    switch,
};
use crate::{queues, trace};

impl Session<'_> {
    pub(super) async fn publish(
        &mut self,
        health: &mut Health,
        connection: Arc<lapin::Connection>,
    ) -> QueryResult<usize> {
        let limit = if health.is_probing() { 1 } else { self.relay.config.relay_batch };
        let events = outbox::read(&mut self.conn, &self.relay.routes, &self.shards.owned(), limit).await?;
        if events.is_empty() {
            self.settle().await?;
            return Ok(0);
        }
        let turning: Vec<i16> = self
            .shards
            .on(Lane::Postgres)
            .into_iter()
            .filter(|shard| events.iter().any(|event| event.shard == *shard))
            .collect();
        if !turning.is_empty() {
            switch::to_amqp(&mut self.conn, &turning).await?;
            self.shards.moved(&turning, Lane::Amqp);
            tracing::info!(shards = ?turning, lane = "amqp", "shards of the outbox changed lane");
        }
        let started = Instant::now();
        let Sorted { publish: events, divert } = self.refusals.sort(events);
        let diverted = self.divert(&divert).await?;
        if events.is_empty() {
            self.settle().await?;
            return Ok(diverted);
        }
        let Published { confirmed, refused, behind, failure } = self.send(&connection, &events).await;
        let confirmed = chosen(&events, confirmed);
        if !confirmed.is_empty() {
            outbox::published(&mut self.conn, &confirmed).await?;
            Self::count(&confirmed);
            health.succeeded();
        }
        if !refused.is_empty() {
            tracing::warn!(
                events = refused.len() + behind,
                "a full queue refuses events, they wait in the outbox"
            );
        }
        let topics =
            |events: &[&'_ Outgoing]| events.iter().map(|event| event.topic.clone()).collect::<HashSet<_>>();
        self.learn(&topics(&confirmed), &topics(&chosen(&events, refused)));
        if let Some(reason) = failure {
            tracing::warn!(reason, confirmed = confirmed.len(), events = events.len(), "publishing failed");
            self.publisher = None;
            if connection.status().blocked() {
                // Another connection would find out only by being blocked too; this one will be told when it is over.
                health.blocked(started);
            } else {
                health.failed(reason);
                if let Some(link) = &self.relay.link {
                    link.reconnect();
                }
            }
        }
        self.settle().await?;
        Ok(confirmed.len() + diverted)
    }

    /// Makes jobs of events whose topic is refused, see [`Refusals`]; answers with their number.
    async fn divert(&mut self, events: &[Outgoing]) -> QueryResult<usize> {
        if events.is_empty() {
            return Ok(0);
        }
        let max_attempts = self.relay.config.policy.max_attempts;
        let handed = switch::divert(&mut self.conn, &self.relay.routes, events, max_attempts).await?;
        Ok(self.handed(&handed))
    }

    fn learn(&mut self, confirmed: &HashSet<String>, refused: &HashSet<String>) {
        let confirmed = confirmed.iter().map(String::as_str).collect();
        let refused = refused.iter().map(String::as_str).collect();
        for topic in self.refusals.learn(&confirmed, &refused) {
            tracing::warn!(
                topic,
                "a full queue has refused the topic for too long, its events go over Postgres; \
                 a queue that is none of ours must drop what is too much (x-overflow: drop-head)"
            );
        }
    }

    async fn send(&mut self, connection: &Arc<lapin::Connection>, events: &[Outgoing]) -> Published {
        let patience = self.relay.config.down_after;
        if self.publisher.as_ref().is_none_or(|publisher| !publisher.is_on(connection)) {
            self.publisher = None;
            match tokio::time::timeout(patience, Publisher::open(Arc::clone(connection))).await {
                Ok(Ok(publisher)) => self.publisher = Some(publisher),
                Ok(Err(error)) => return failed(error.to_string()),
                Err(_) => return failed(format!("no channel within {patience:?}")),
            }
        }
        let Some(publisher) = &mut self.publisher else { return Published::default() };
        match tokio::time::timeout(patience, publisher.bind(&self.relay.topology, events)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return failed(error.to_string()),
            Err(_) => return failed(format!("nothing could be bound within {patience:?}")),
        }
        let span = tracing::info_span!("publish", otel.kind = "producer", events = events.len());
        trace::link(&span, events.iter().filter_map(|event| event.traceparent.as_deref()));
        let events = events.iter().collect();
        publisher.publish(&self.relay.config.exchange, events, patience).instrument(span).await
    }

    fn count(confirmed: &[&Outgoing]) {
        let mut topics: HashMap<&str, u64> = HashMap::new();
        for event in confirmed {
            *topics.entry(event.topic.as_str()).or_default() += 1;
        }
        for (topic, events) in topics {
            meter::published(topic.to_owned(), Lane::Amqp, events);
        }
    }

    pub(super) async fn hand_over(&mut self, reason: &str) -> QueryResult<usize> {
        let max_attempts = self.relay.config.policy.max_attempts;
        let turning = self.shards.on(Lane::Amqp);
        if !turning.is_empty() {
            let events = switch::to_postgres(&mut self.conn, &turning, reason, max_attempts).await?;
            self.shards.moved(&turning, Lane::Postgres);
            tracing::warn!(shards = ?turning, lane = "postgres", reason, events, "shards of the outbox changed lane");
            self.hint(self.relay.routes.pipelines.iter().copied());
        }
        let owned = self.shards.owned();
        let next = Which::Next(&owned, self.relay.config.relay_batch);
        let handed = outbox::hand_over(&mut self.conn, &self.relay.routes, next, max_attempts).await?;
        Ok(self.handed(&handed))
    }

    /// Counts what became jobs and wakes their consumers.
    fn handed(&self, handed: &[Handed]) -> usize {
        let mut moved = 0;
        let mut pipelines = HashSet::new();
        for Handed { topic, events, pipelines: wanted } in handed {
            moved += usize::try_from(*events).unwrap_or(usize::MAX);
            meter::published(topic.clone(), Lane::Postgres, events.unsigned_abs());
            pipelines.extend(wanted);
        }
        self.hint(pipelines.into_iter().map(String::as_str));
        moved
    }

    fn hint<'a>(&self, pipelines: impl Iterator<Item = &'a str>) {
        if let Some(notifier) = &self.relay.notifier {
            pipelines.for_each(|pipeline| notifier.hint(&queues::pipeline_queue(pipeline)));
        }
    }
}

fn failed(reason: String) -> Published {
    Published { failure: Some(reason), ..Published::default() }
}

/// The events with these places in the outbox.
fn chosen(events: &[Outgoing], seqs: Vec<i64>) -> Vec<&Outgoing> {
    let seqs: HashSet<i64> = seqs.into_iter().collect();
    events.iter().filter(|event| seqs.contains(&event.seq)).collect()
}
