//! The task that makes outcomes durable, many in one statement.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    complete::{End, Entry},
    link::{Link, LinkError},
    locked::locked,
    outcomes::{Held, Sorted},
    tid::Tid,
};

/// Outcomes in one statement at most.
const BATCH: usize = 500;
/// How long one statement may take before the connection is given up.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the database may take to say whose rows are locked.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Pauses between tries while the database is away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Tries for an outcome that fails alone although the database answers. More than one, because a deadlock or a restart
/// between two statements looks the same.
const TRIES: u8 = 5;
/// How often to look whether rows that somebody else has locked are free.
const LOCKED: Duration = Duration::from_millis(500);

/// How a run of a job ends, in the terms of the tables.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// Into the history.
    Over(End),
    /// Back into the queue.
    Back {
        /// How long until it may run again. With none it keeps its place in the queue.
        delay: Duration,
        /// Whether the attempt is given back.
        refund: bool,
        /// Whether it counts as a snooze.
        snooze: bool,
        /// For the history; `None` if nothing of the job has run.
        entry: Option<Entry>,
    },
    /// Into the dead letters.
    Dead {
        /// The last attempt.
        entry: Entry,
        /// Why there is no other.
        reason: &'static str,
    },
}

impl Resolution {
    /// Not started: back to where it was, as if it had never been claimed.
    pub const HAND_BACK: Self =
        Self::Back { delay: Duration::ZERO, refund: true, snooze: false, entry: None };
}

/// Whether an outcome counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Kept,
    /// Another worker had the job, or it was over: nothing was changed.
    ClaimLost,
}

/// What is done once an outcome is durable. Dropped, if it never will be.
pub type Then = Box<dyn FnOnce(Settled) + Send>;

struct Item {
    id: Uuid,
    claim: i64,
    place: Tid,
    resolution: Resolution,
    then: Then,
    tries: u8,
    /// A statement that failed may have stored it all the same.
    uncertain: bool,
}

/// Hands outcomes to the task. Clones share it; it ends when the last clone is gone and everything is durable.
#[derive(Clone)]
pub struct Completer {
    items: mpsc::UnboundedSender<Item>,
}

impl Completer {
    /// Starts the task with a connection of its own.
    pub fn start(link: Link) -> (Self, tokio::task::JoinHandle<()>) {
        // Unbounded, yet never longer than the jobs in hand: each waits for its answer before its slot is free.
        let (items, queue) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(link, queue));
        (Self { items }, task)
    }

    /// Makes an outcome durable; comes back when it is, however long the database is away.
    ///
    /// `place` is where the job's row probably is.
    pub async fn settle(&self, id: Uuid, claim: i64, place: Tid, resolution: Resolution) -> Settled {
        let (answer, settled) = oneshot::channel();
        let then = Box::new(move |settled| {
            let _ = answer.send(settled);
        });
        self.settle_then(id, claim, place, resolution, then);
        settled.await.unwrap_or(Settled::ClaimLost)
    }

    /// The same for who does not wait: `then` is called when the outcome is durable.
    pub fn settle_then(&self, id: Uuid, claim: i64, place: Tid, mut resolution: Resolution, then: Then) {
        if let Resolution::Over(End::Done(Some(result))) = &mut resolution {
            without_nul(result);
        }
        let item = Item { id, claim, place, resolution, then, tries: 0, uncertain: false };
        if let Err(mpsc::error::SendError(item)) = self.items.send(item) {
            (item.then)(Settled::ClaimLost);
        }
    }
}

async fn run(mut link: Link, mut queue: mpsc::UnboundedReceiver<Item>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut aside = Aside { items: Vec::new(), look_at: Instant::now() };
    loop {
        let more = queue.recv_many(&mut batch, BATCH);
        let more = if aside.items.is_empty() { Ok(more.await) } else { timeout(LOCKED, more).await };
        if !batch.is_empty() {
            aside.items.extend(settle(&mut link, std::mem::take(&mut batch)).await);
            batch.reserve(BATCH);
        } else if more == Ok(0) {
            if aside.items.is_empty() {
                return;
            }
            tokio::time::sleep_until(aside.look_at).await;
        }
        aside.look(&mut link).await;
    }
}

/// Outcomes that wait for rows which others have locked. Never more than the jobs in hand, like the queue.
struct Aside {
    items: Vec<Item>,
    look_at: Instant,
}

impl Aside {
    /// Settles those whose rows are free by now, if it is time to look.
    async fn look(&mut self, link: &mut Link) {
        if self.items.is_empty() || Instant::now() < self.look_at {
            return;
        }
        if let Ok(locked) = locked_of(link, ids(&self.items)).await {
            let free: Vec<_> = self.items.extract_if(.., |item| !locked.contains(&item.id)).collect();
            if !free.is_empty() {
                self.items.extend(settle(link, free).await);
            }
        }
        self.look_at = Instant::now() + LOCKED;
    }
}

/// Tries until the whole batch is durable, but for those outcomes whose rows somebody else has locked: it answers with them, because the
/// others must not wait for whoever that is.
async fn settle(link: &mut Link, batch: Vec<Item>) -> Vec<Item> {
    let mut aside = Vec::new();
    let mut pending = VecDeque::from([batch]);
    let mut pause = BACKOFF.0;
    while let Some(mut items) = pending.pop_front() {
        #[cfg(feature = "fail-points")]
        let _ = crate::fail_point::strike("outcomes.answered").await;
        let error = match store(link, sorted(&items)).await {
            Ok(held) => {
                pause = BACKOFF.0;
                #[cfg(feature = "fail-points")]
                let _ = crate::fail_point::strike("outcomes.stored").await;
                // Beside the next statement, not before it.
                tokio::spawn(async move { tell(items, &held) });
                continue;
            }
            Err(error) => error,
        };
        for item in &mut items {
            item.uncertain = true;
        }
        let locked = match &error {
            LinkError::Query(_) => locked_of(link, ids(&items)).await.ok(),
            LinkError::Connect(_) | LinkError::TimedOut(_) => None,
        };
        if let Some(locked) = &locked {
            if !locked.is_empty() {
                tracing::warn!(%error, jobs = ?locked, "outcomes wait for whoever has locked their rows");
                aside.extend(
                    items
                        .extract_if(.., |item| locked.contains(&item.id))
                        .map(|item| Item { tries: 0, ..item }),
                );
                if !items.is_empty() {
                    pending.push_front(items);
                }
                continue;
            }
            if items.len() > 1 {
                // The database answers, so one of the outcomes is at fault. The others must not wait for it.
                let rest = items.split_off(items.len() / 2);
                pending.extend([items, rest]);
                continue;
            }
        }
        tracing::warn!(%error, jobs = items.len(), "outcomes wait for the database");
        tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(BACKOFF.1);
        if let ([item], Some(_)) = (items.as_mut_slice(), locked) {
            item.tries += 1;
            if item.tries >= TRIES {
                give_up(item, &error);
            }
        }
        pending.push_back(items);
    }
    aside
}

fn tell(items: Vec<Item>, held: &Held) {
    for item in items {
        // After an error the statement may have taken effect all the same; then the job is no longer running because of us, not
        // because of another worker. Either way it is over for this run.
        let kept = item.uncertain || held.has(item.id);
        (item.then)(if kept { Settled::Kept } else { Settled::ClaimLost });
    }
}

/// A result that Postgres does not take must not hold up the job for ever.
fn give_up(item: &mut Item, error: &LinkError) {
    tracing::error!(job = %item.id, %error, "an outcome cannot be stored; the job becomes a dead letter");
    let entry = Entry::new("failed", format!("the outcome cannot be stored: {error}"));
    item.resolution = Resolution::Dead { entry, reason: "the outcome cannot be stored" };
    item.tries = 0;
}

/// Postgres' jsonb holds no NUL.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains('\0')) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', "\u{fffd}"), value))
                    .collect();
            }
            fields.values_mut().for_each(without_nul);
        }
        _ => {}
    }
}

fn ids(items: &[Item]) -> Vec<Uuid> {
    items.iter().map(|item| item.id).collect()
}

/// Whose rows somebody else has locked; an error if the database does not answer.
async fn locked_of(link: &mut Link, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, LinkError> {
    link.run(ANSWER_LIMIT, |mut conn| async move {
        let locked = locked(&mut conn, &ids).await;
        (conn, locked)
    })
    .await
    .map(HashSet::from_iter)
}

fn sorted(items: &[Item]) -> Sorted {
    let mut sorted = Sorted::default();
    for item in items {
        sorted.add(item.id, item.claim, item.place, item.resolution.clone());
    }
    sorted
}

async fn store(link: &mut Link, sorted: Sorted) -> Result<Held, LinkError> {
    link.run(LIMIT, |mut conn| async move {
        let held = sorted.write(&mut conn).await;
        (conn, held)
    })
    .await
}
