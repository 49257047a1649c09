//! Which lane the relay takes now.

use std::{sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::Instant;

use super::broker::Link;

/// Pause before a broker that takes no messages is tried again; doubles from the first to the second.
const PROBE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// What to do with the next batch.
pub(crate) enum Choice {
    /// Publish it.
    Amqp(Arc<Connection>),
    /// Make jobs of it, and why.
    Postgres(String),
    /// The broker may be back in a moment.
    Wait,
}

/// What the relay knows of the broker, beside the state of its connection.
#[derive(Debug)]
pub(crate) struct Health {
    down_after: Duration,
    blocked: Option<Instant>,
    failing: Option<Failing>,
}

/// A broker that is connected but takes nothing.
#[derive(Debug)]
struct Failing {
    since: Instant,
    reason: String,
    probe_at: Instant,
    pause: Duration,
}

impl Health {
    pub(crate) fn new(down_after: Duration) -> Self {
        Self { down_after, blocked: None, failing: None }
    }

    /// Decides.
    pub(crate) fn choose(&mut self, link: Option<&Link>) -> Choice {
        let Some(link) = link else { return Choice::Postgres("no broker is configured".to_owned()) };
        let state = link.state();
        let Some(connection) = state.connection else {
            self.blocked = None;
            return self
                .down(self.failing.as_ref().map_or(state.since, |failing| failing.since), &state.reason);
        };
        if connection.status().blocked() {
            let since = *self.blocked.get_or_insert_with(Instant::now);
            return self.down(since, "the broker blocks publishers");
        }
        self.blocked = None;
        match &self.failing {
            None => Choice::Amqp(connection),
            Some(failing) if failing.since.elapsed() < self.down_after => Choice::Amqp(connection),
            Some(failing) if Instant::now() >= failing.probe_at => Choice::Amqp(connection),
            Some(failing) => Choice::Postgres(failing.reason.clone()),
        }
    }

    fn down(&self, since: Instant, reason: &str) -> Choice {
        if since.elapsed() < self.down_after { Choice::Wait } else { Choice::Postgres(reason.to_owned()) }
    }

    /// Whether the next batch only finds out if the broker takes messages again.
    pub(crate) fn is_probing(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| failing.since.elapsed() >= self.down_after)
    }

    /// Something was confirmed.
    pub(crate) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// Nothing gets through since then, because the broker says so.
    pub(crate) fn blocked(&mut self, since: Instant) {
        self.blocked.get_or_insert(since);
    }

    /// Something was not, and the connection was given up.
    pub(crate) fn failed(&mut self, reason: String) {
        let now = Instant::now();
        if let Some(failing) = &mut self.failing {
            failing.pause = (failing.pause * 2).min(PROBE.1);
            failing.probe_at = now + failing.pause;
            failing.reason = reason;
        } else {
            let pause = PROBE.0;
            self.failing = Some(Failing { since: now, reason, probe_at: now + pause, pause });
        }
    }
}
