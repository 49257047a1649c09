//! The task that makes outcomes durable, many in one statement.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use diesel::QueryResult;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    complete::{Completion, End, Entry, bury, complete},
    link::{Link, LinkError},
    put_back::{PutBack, put_back},
    tid::Tid,
};

/// Outcomes in one statement at most.
const BATCH: usize = 500;
/// How long one statement may take before the connection is given up.
const LIMIT: Duration = Duration::from_secs(30);
/// Pauses between tries while the database is away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Tries for an outcome that fails alone although the database answers. More than one, because a deadlock or a restart
/// between two statements looks the same.
const TRIES: u8 = 5;

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
        let item = Item { id, claim, place, resolution, then, tries: 0 };
        if let Err(mpsc::error::SendError(item)) = self.items.send(item) {
            (item.then)(Settled::ClaimLost);
        }
    }
}

async fn run(mut link: Link, mut queue: mpsc::UnboundedReceiver<Item>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        settle(&mut link, std::mem::take(&mut batch)).await;
        batch.reserve(BATCH);
    }
}

/// Tries until the whole batch is durable.
async fn settle(link: &mut Link, batch: Vec<Item>) {
    let mut pending = VecDeque::from([batch]);
    let mut pause = BACKOFF.0;
    let mut uncertain = false;
    while let Some(mut items) = pending.pop_front() {
        let error = match store(link, Sorted::of(&items)).await {
            Ok(held) => {
                pause = BACKOFF.0;
                // Beside the next statement, not before it.
                tokio::spawn(async move { tell(items, &held, uncertain) });
                continue;
            }
            Err(error) => error,
        };
        uncertain = true;
        if items.len() > 1 && is_alive(link, &error).await {
            // The database answers, so one of the outcomes is at fault. The others must not wait for it.
            let rest = items.split_off(items.len() / 2);
            pending.extend([items, rest]);
            continue;
        }
        tracing::warn!(%error, jobs = items.len(), "outcomes wait for the database");
        tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(BACKOFF.1);
        if let [item] = items.as_mut_slice()
            && is_alive(link, &error).await
        {
            item.tries += 1;
            if item.tries >= TRIES {
                give_up(item, &error);
            }
        }
        pending.push_back(items);
    }
}

fn tell(items: Vec<Item>, held: &Held, uncertain: bool) {
    for item in items {
        // After an error the statement may have taken effect all the same; then the job is no longer running because of us, not
        // because of another worker. Either way it is over for this run.
        let kept = uncertain || held.has(item.id);
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

/// Whether the database answers although the statement failed.
async fn is_alive(link: &mut Link, error: &LinkError) -> bool {
    use diesel_async::RunQueryDsl as _;
    if !matches!(error, LinkError::Query(_)) {
        return false;
    }
    link.run(Duration::from_secs(2), |mut conn| async move {
        let answer = waybill_schema::sql("select 1").execute(&mut conn).await;
        (conn, answer)
    })
    .await
    .is_ok()
}

/// Whose outcomes counted.
enum Held {
    All,
    Only(HashSet<Uuid>),
}

impl Held {
    fn has(&self, id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}

/// Outcomes by the statement they need.
#[derive(Default)]
struct Sorted {
    over: Vec<Completion>,
    back: Vec<PutBack>,
    dead: Vec<(Uuid, i64, Entry, &'static str)>,
}

impl Sorted {
    fn add(&mut self, id: Uuid, claim: i64, place: Tid, resolution: Resolution) {
        match resolution {
            Resolution::Over(end) => self.over.push(Completion { id, claim, place, end }),
            Resolution::Back { delay, refund, snooze, entry } => {
                self.back.push(PutBack { id, claim, delay, refund, snooze, entry });
            }
            Resolution::Dead { entry, reason } => self.dead.push((id, claim, entry, reason)),
        }
    }

    fn of(items: &[Item]) -> Self {
        let mut sorted = Self::default();
        for item in items {
            sorted.add(item.id, item.claim, item.place, item.resolution.clone());
        }
        sorted
    }

    /// At most one statement of each sort; each commits by itself, and a repetition changes nothing.
    async fn write(&self, conn: &mut Conn) -> QueryResult<Held> {
        let all = self.over.len() + self.back.len() + self.dead.len();
        let mut held = Vec::new();
        if !self.over.is_empty() {
            held.extend(complete(conn, &self.over).await?);
        }
        if !self.back.is_empty() {
            held.extend(put_back(conn, &self.back).await?);
        }
        if !self.dead.is_empty() {
            held.extend(bury(conn, &self.dead).await?);
        }
        Ok(if held.len() == all { Held::All } else { Held::Only(held.into_iter().collect()) })
    }
}

async fn store(link: &mut Link, sorted: Sorted) -> Result<Held, LinkError> {
    link.run(LIMIT, |mut conn| async move {
        let held = sorted.write(&mut conn).await;
        (conn, held)
    })
    .await
}

/// Makes one outcome durable; false if the claim is lost.
#[cfg(feature = "testing")]
pub(crate) async fn write_one(
    conn: &mut Conn,
    id: Uuid,
    claim: i64,
    resolution: Resolution,
) -> QueryResult<bool> {
    let mut sorted = Sorted::default();
    sorted.add(id, claim, Tid::UNKNOWN, resolution);
    Ok(sorted.write(conn).await?.has(id))
}
