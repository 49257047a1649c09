//! Events that only a newer release reads: of a topic that this one's pipeline does not know, or in a version beyond its own.
//!
//! They are kept as jobs of the pipeline, which an old worker puts aside, as it does with kinds that it does not know, until a
//! new one takes them. Later events of the aggregate wait behind them.

use std::{collections::HashSet, time::Duration};

use diesel::QueryResult;
use waybill_schema::Conn;

use super::{
    item::{Item, Ticket, partition_key},
    routes,
};
use crate::{
    contract::{Failure, Policy},
    emit::EventEnvelope,
    pipeline::Pipeline,
    postgres::{Entry, Resolution},
    runtime::after_failure,
};

/// What a pipeline of this release can do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Handle it.
    Yes,
    /// Keep it: the payload is newer.
    NewerVersion,
    /// Keep it if a newer release wants the topic.
    UnknownTopic,
}

/// What `pipeline` can do with `event`.
pub(crate) fn reads(pipeline: &dyn Pipeline, event: &EventEnvelope) -> Reads {
    if !pipeline.topics().contains(&event.topic.as_str()) {
        Reads::UnknownTopic
    } else if event.version > pipeline.reads(&event.topic) {
        Reads::NewerVersion
    } else {
        Reads::Yes
    }
}

/// The topics among `events` that `pipeline` does not know but some release wants for it.
pub(crate) async fn wanted<'e>(
    conn: &mut Conn,
    pipeline: &dyn Pipeline,
    events: impl Iterator<Item = &'e EventEnvelope>,
) -> QueryResult<HashSet<String>> {
    let topics = unknown(pipeline, events);
    if topics.is_empty() { Ok(topics) } else { routes::wanted(conn, pipeline.name(), &topics).await }
}

/// The topics among `events` that `pipeline` does not know.
pub(crate) fn unknown<'e>(
    pipeline: &dyn Pipeline,
    events: impl Iterator<Item = &'e EventEnvelope>,
) -> HashSet<String> {
    events
        .filter(|event| reads(pipeline, event) == Reads::UnknownTopic)
        .map(|event| event.topic.clone())
        .collect()
}

/// Splits off what only a newer release reads, and what comes behind it of the same aggregate.
pub(crate) fn split(pipeline: &dyn Pipeline, items: Vec<Item>) -> (Vec<Item>, Vec<Item>) {
    let mut waiting = HashSet::new();
    items.into_iter().partition(|item| {
        let key = partition_key(pipeline.name(), &item.event);
        let readable = reads(pipeline, &item.event) == Reads::Yes && !waiting.contains(&key);
        if !readable {
            waiting.insert(key);
        }
        readable
    })
}

/// What becomes of jobs whose topic this release does not know, with the times that each was snoozed. Those that a newer
/// release wants are put aside; what none wants any more is a dead letter, because somebody was to have it.
pub(crate) async fn judge(
    conn: &mut Conn,
    pipeline: &dyn Pipeline,
    policy: &Policy,
    jobs: Vec<(Ticket, EventEnvelope, i32)>,
) -> QueryResult<Vec<(Ticket, Resolution)>> {
    let wanted = wanted(conn, pipeline, jobs.iter().map(|(_, event, _)| event)).await?;
    let judged = jobs.into_iter().map(|(ticket, event, snoozes)| {
        if wanted.contains(&event.topic) {
            return (ticket, aside(&event, snoozes));
        }
        let reason = format!("no release has said for a day that the pipeline reacts to {}", event.topic);
        let failure = Failure::permanent(reason);
        (ticket, after_failure(ticket.attempt, ticket.max_attempts, policy, "failed", failure))
    });
    Ok(judged.collect())
}

/// Puts the job of such an event aside: 5 s doubling to 20 s, without end, and no attempt spent. No longer, since an old
/// worker may well be the next to look.
pub(crate) fn aside(event: &EventEnvelope, snoozes: i32) -> Resolution {
    let doublings = snoozes.clamp(0, 2).unsigned_abs();
    let reason = format!("this worker does not read {} in version {}", event.topic, event.version);
    Resolution::Back {
        delay: Duration::from_secs(5 << doublings),
        refund: true,
        snooze: true,
        entry: Some(Entry::new("snoozed", reason)),
    }
}
