//! Topics that a full queue refuses.
//!
//! The broker confirms a message only when every queue that it goes to has taken it. One that is full and refuses
//! (`x-overflow: reject-publish`), ours or somebody else's, has it answer with a nack, although the others took it. So a
//! refused event is not simply published again and again: its topic is tried with one event at a time, and after `down_after`
//! its events go over Postgres while the other topics go on.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::outbox::Outgoing;

/// Pause before a topic that goes over Postgres is tried again; doubles from the first to the second.
const PROBE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

#[derive(Debug)]
struct Refusal {
    since: Instant,
    /// Set once its events go over Postgres.
    diverted: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    at: Instant,
    pause: Duration,
}

/// What to do with the events of a batch; those that are in neither wait in the outbox.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// To publish.
    pub publish: Vec<Outgoing>,
    /// To make jobs of: all events of the batch about these aggregates.
    pub divert: Vec<Outgoing>,
}

/// The topics that are refused now.
#[derive(Debug)]
pub(crate) struct Refusals {
    down_after: Duration,
    topics: HashMap<String, Refusal>,
}

/// What may be done with an event of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Publish it, but no other of the topic.
    Try,
    Wait,
    Divert,
}

impl Refusals {
    pub(crate) fn new(down_after: Duration) -> Self {
        Self { down_after, topics: HashMap::new() }
    }

    /// Sorts a batch, which is in the order of the outbox.
    ///
    /// An aggregate keeps its order: all of its events in the batch are diverted, or none; behind one that is tried or waits
    /// all the others wait.
    pub(crate) fn sort(&self, events: Vec<Outgoing>) -> Sorted {
        if self.topics.is_empty() {
            return Sorted { publish: events, divert: Vec::new() };
        }
        let now = Instant::now();
        let mut tried = HashSet::new();
        let ways: Vec<Option<Way>> = events
            .iter()
            .map(|event| {
                let refusal = self.topics.get(&event.topic)?;
                let first = !tried.contains(&event.topic);
                let way = match &refusal.diverted {
                    None if first => Way::Try,
                    None => Way::Wait,
                    Some(probe) if first && now >= probe.at => Way::Try,
                    Some(_) => Way::Divert,
                };
                if way == Way::Try {
                    tried.insert(event.topic.clone());
                }
                Some(way)
            })
            .collect();
        let of = |wanted: Way| -> HashSet<Uuid> {
            let of_way = events.iter().zip(&ways).filter(|(_, way)| **way == Some(wanted));
            of_way.map(|(event, _)| event.aggregate_id).collect()
        };
        let (probing, diverted) = (of(Way::Try), of(Way::Divert));
        let mut sorted = Sorted::default();
        let mut waiting = HashSet::new();
        for (event, way) in events.into_iter().zip(ways) {
            let aggregate = event.aggregate_id;
            if diverted.contains(&aggregate) && !probing.contains(&aggregate) {
                sorted.divert.push(event);
            } else if waiting.contains(&aggregate) || matches!(way, Some(Way::Wait | Way::Divert)) {
                waiting.insert(aggregate);
            } else {
                if way == Some(Way::Try) {
                    waiting.insert(aggregate);
                }
                sorted.publish.push(event);
            }
        }
        sorted
    }

    /// Learns from what became of a batch; answers with the topics that go over Postgres from now on.
    pub(crate) fn learn(&mut self, confirmed: &HashSet<&str>, refused: &HashSet<&str>) -> Vec<String> {
        let now = Instant::now();
        // A queue that takes some and refuses others is full all the same.
        for topic in confirmed.difference(refused) {
            if self.topics.remove(*topic).is_some_and(|refusal| refusal.diverted.is_some()) {
                tracing::info!(topic, "events of the topic are taken by the broker again");
            }
        }
        let mut turned = Vec::new();
        for topic in refused {
            let refusal =
                self.topics.entry((*topic).to_owned()).or_insert(Refusal { since: now, diverted: None });
            if let Some(probe) = &mut refusal.diverted {
                probe.pause = (probe.pause * 2).min(PROBE.1);
                probe.at = now + probe.pause;
            } else if refusal.since.elapsed() >= self.down_after {
                refusal.diverted = Some(Probe { at: now + PROBE.0, pause: PROBE.0 });
                turned.push((*topic).to_owned());
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: i64, topic: &str, aggregate: u128) -> Outgoing {
        Outgoing {
            seq,
            id: Uuid::from_u128(seq.unsigned_abs().into()),
            topic: topic.to_owned(),
            shard: 0,
            aggregate: "thing".to_owned(),
            aggregate_id: Uuid::from_u128(aggregate),
            correlation_id: None,
            traceparent: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            body: String::new(),
            pipelines: String::new(),
        }
    }

    fn seqs(events: &[Outgoing]) -> Vec<i64> {
        events.iter().map(|event| event.seq).collect()
    }

    fn batch() -> Vec<Outgoing> {
        vec![
            event(1, "full", 1),
            event(2, "free", 1),
            event(3, "free", 2),
            event(4, "full", 2),
            event(5, "free", 2),
            event(6, "free", 3),
        ]
    }

    /// Lets time go by.
    fn age(refusals: &mut Refusals, by: Duration) {
        for refusal in refusals.topics.values_mut() {
            refusal.since -= by;
            if let Some(probe) = &mut refusal.diverted {
                probe.at -= by;
            }
        }
    }

    #[test]
    fn a_refused_topic_is_tried_with_one_event_and_then_goes_over_postgres() {
        let mut refusals = Refusals::new(Duration::from_secs(3));
        let (free, full) = (HashSet::from(["free"]), HashSet::from(["full"]));
        assert_eq!(seqs(&refusals.sort(batch()).publish), [1, 2, 3, 4, 5, 6]);
        assert!(refusals.learn(&free, &full).is_empty());

        // 2 is behind the one that is tried, 5 behind one that waits.
        let sorted = refusals.sort(batch());
        assert_eq!((seqs(&sorted.publish), seqs(&sorted.divert)), (vec![1, 3, 6], vec![]));

        age(&mut refusals, Duration::from_secs(3));
        assert_eq!(refusals.learn(&free, &full), ["full"]);
        let sorted = refusals.sort(batch());
        assert_eq!((seqs(&sorted.publish), seqs(&sorted.divert)), (vec![6], vec![1, 2, 3, 4, 5]));

        // After the pause one event finds out; the second one of the topic is not held up by it.
        age(&mut refusals, PROBE.0);
        let sorted = refusals.sort(batch());
        assert_eq!((seqs(&sorted.publish), seqs(&sorted.divert)), (vec![1, 6], vec![3, 4, 5]));
        assert!(refusals.learn(&free, &full).is_empty());
        assert_eq!(seqs(&refusals.sort(batch()).divert), [1, 2, 3, 4, 5]);

        age(&mut refusals, PROBE.0 * 2);
        refusals.learn(&full, &HashSet::new());
        assert_eq!(seqs(&refusals.sort(batch()).publish), [1, 2, 3, 4, 5, 6]);
    }
}
