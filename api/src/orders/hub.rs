//! Watching orders: one poller per process, however many clients watch.
//!
//! Every stream and long poll of the process registers here. While anybody watches, one task asks the database for the
//! versions of all watched orders in one query, loads those that moved in two more, and wakes their watchers. So 10,000
//! open streams cost a few queries per tick, not 10,000, and an idle process asks nothing. `LISTEN` would need a
//! connection of its own, breaks behind a transaction pooler, and its loss would have to be polled for anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::{Pool, orders::read};

use super::{dto::OrderDto, find, frame};
use crate::error::{ApiError, ApiResult};

/// Watchers of one process at most; each holds a few kilobytes and a socket.
const MAX_WATCHERS: usize = 20_000;
/// Pause between two looks. An order takes some 15 ms from acceptance to confirmation, so a longer one would be most of what
/// a shop waits; a look at 64 watched orders costs Postgres a tenth of a millisecond.
const TICK: Duration = Duration::from_millis(25);
/// The pause grows to this when looking takes long, or fails.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// A look takes a quarter of the time at most.
const IDLE_SHARE: u32 = 3;
/// Orders asked for in one query.
const CHUNK: usize = 5_000;
/// Moved orders loaded in one go.
const LOAD_CHUNK: usize = 200;

/// A watched order as it is after a move, rendered once for all its watchers.
#[derive(Debug)]
pub struct Snapshot {
    /// The order.
    pub order: OrderDto,
    /// Its server-sent event.
    pub frame: Bytes,
}

impl Snapshot {
    /// Renders an order.
    pub fn new(order: OrderDto) -> Self {
        let frame = frame::order(&order);
        Self { order, frame }
    }
}

/// The hub of one process. Clones share it.
#[derive(Clone)]
pub struct OrderHub(Arc<Inner>);

struct Inner {
    pool: Pool,
    state: Mutex<State>,
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    orders: HashMap<Uuid, Watched>,
    watchers: usize,
    polling: bool,
}

struct Watched {
    version: i64,
    watchers: usize,
    sender: watch::Sender<Option<Arc<Snapshot>>>,
}

/// One who watches one order; ends with being dropped.
pub struct Watcher {
    hub: OrderHub,
    id: Uuid,
    seen: i64,
    receiver: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl OrderHub {
    /// A hub that nobody watches through yet.
    pub fn new(pool: Pool) -> Self {
        Self(Arc::new(Inner { pool, state: Mutex::default(), closed: CancellationToken::new() }))
    }

    /// Watches an order whose version `seen` is known; 503 when too many watch already. Must be called in a runtime.
    pub fn watch(&self, id: Uuid, seen: i64) -> ApiResult<Watcher> {
        let mut state = self.state();
        if state.watchers >= MAX_WATCHERS {
            let detail = "too many clients watch orders at the moment; poll instead";
            return Err(ApiError::unavailable(detail, Duration::from_secs(5)));
        }
        state.watchers += 1;
        let watched = state.orders.entry(id).or_insert_with(|| Watched {
            version: seen,
            watchers: 0,
            sender: watch::Sender::new(None),
        });
        watched.watchers += 1;
        let receiver = watched.sender.subscribe();
        if !std::mem::replace(&mut state.polling, true) {
            tokio::spawn(self.clone().poll());
        }
        metrics::gauge!("waybill_order_watchers").set(count(state.watchers));
        drop(state);
        Ok(Watcher { hub: self.clone(), id, seen, receiver })
    }

    /// How many watch at the moment.
    pub fn watchers(&self) -> usize {
        self.state().watchers
    }

    /// Ends every stream and long poll, now and from now on: clients ask another process.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn poll(self) {
        let mut pause = TICK;
        let mut failing = false;
        loop {
            tokio::time::sleep(pause).await;
            let ids: Vec<Uuid> = {
                let mut state = self.state();
                if state.orders.is_empty() {
                    state.polling = false;
                    return;
                }
                state.orders.keys().copied().collect()
            };
            let started = Instant::now();
            pause = match self.look(&ids).await {
                Ok(()) => {
                    failing = false;
                    (started.elapsed() * IDLE_SHARE).clamp(TICK, LONGEST_TICK)
                }
                Err(error) => {
                    // Once per outage: the streams stay open and hear of the moves when the database is back.
                    if !std::mem::replace(&mut failing, true) {
                        error.log();
                    }
                    LONGEST_TICK
                }
            };
        }
    }

    /// Finds the orders that moved, and tells their watchers.
    async fn look(&self, ids: &[Uuid]) -> ApiResult<()> {
        let mut conn = self.0.pool.get().await?;
        for chunk in ids.chunks(CHUNK) {
            let versions = read::versions(&mut conn, chunk).await?;
            let moved: Vec<Uuid> = {
                let state = self.state();
                let moved = |row: &read::VersionRow| {
                    state.orders.get(&row.id).is_some_and(|watched| watched.version < row.version)
                };
                versions.into_iter().filter(moved).map(|row| row.id).collect()
            };
            for chunk in moved.chunks(LOAD_CHUNK) {
                let orders = find::many(&mut conn, chunk).await?;
                let snapshots: Vec<_> =
                    orders.into_iter().map(|order| Arc::new(Snapshot::new(order))).collect();
                let mut state = self.state();
                for snapshot in snapshots {
                    if let Some(watched) = state.orders.get_mut(&snapshot.order.id) {
                        watched.version = snapshot.order.version;
                        watched.sender.send_replace(Some(snapshot));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// The order after its next move; nothing when the hub closes. Moves that follow each other fast come as one.
    pub async fn moved(&mut self) -> Option<Arc<Snapshot>> {
        loop {
            let newest = self.receiver.borrow_and_update().clone();
            if let Some(snapshot) = newest.filter(|snapshot| snapshot.order.version > self.seen) {
                self.seen = snapshot.order.version;
                return Some(snapshot);
            }
            tokio::select! {
                changed = self.receiver.changed() => changed.ok()?,
                () = self.hub.0.closed.cancelled() => return None,
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watchers = state.watchers.saturating_sub(1);
        if let Some(watched) = state.orders.get_mut(&self.id) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                state.orders.remove(&self.id);
            }
        }
        metrics::gauge!("waybill_order_watchers").set(count(state.watchers));
    }
}

/// For the gauge; 20,000 is far from where a float loses count.
fn count(watchers: usize) -> f64 {
    u32::try_from(watchers).map_or(f64::MAX, f64::from)
}
