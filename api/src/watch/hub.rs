//! One poller per process and kind of thing, however many clients watch.
//!
//! Every stream and long poll of the process registers here. While anybody watches, one task asks the database for the marks
//! of all watched things in one query, loads those that moved, and wakes their watchers. So 10,000 open streams cost a few
//! queries per tick, not 10,000, and an idle process asks nothing. `LISTEN` would need a connection of its own, breaks behind
//! a transaction pooler, and its loss would have to be polled for anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

use super::Watched;
use crate::error::{ApiError, ApiResult};

/// A look takes a quarter of the time at most.
const IDLE_SHARE: u32 = 3;
/// Marks asked for in one query.
const CHUNK: usize = 5_000;
/// Moved ones loaded in one go.
const LOAD_CHUNK: usize = 200;

/// The hub of one process. Clones share it.
pub struct Hub<W: Watched>(Arc<Inner<W>>);

struct Inner<W: Watched> {
    pool: Pool,
    state: Mutex<State<W>>,
    closed: CancellationToken,
}

struct State<W: Watched> {
    watched: HashMap<Uuid, Entry<W>>,
    watchers: usize,
    polling: bool,
}

type Newest<W> = Option<Arc<<W as Watched>::View>>;

struct Entry<W: Watched> {
    /// As last looked at; none before the first look.
    mark: Option<i64>,
    watchers: usize,
    sender: watch::Sender<Newest<W>>,
}

/// One who watches one thing; ends with being dropped.
pub struct Watcher<W: Watched> {
    hub: Hub<W>,
    id: Uuid,
    seen: Option<i64>,
    receiver: watch::Receiver<Newest<W>>,
}

impl<W: Watched> Clone for Hub<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Watched> Hub<W> {
    /// A hub that nobody watches through yet.
    pub fn new(pool: Pool) -> Self {
        let state = State { watched: HashMap::new(), watchers: 0, polling: false };
        Self(Arc::new(Inner { pool, state: Mutex::new(state), closed: CancellationToken::new() }))
    }

    /// Watches one whose mark `seen` is known, if one is; 503 when too many watch already. Must be called in a runtime.
    pub fn watch(&self, id: Uuid, seen: Option<i64>) -> ApiResult<Watcher<W>> {
        let mut state = self.state();
        if state.watchers >= W::MAX_WATCHERS {
            let detail = format!("too many clients watch {} at the moment; poll instead", W::THINGS);
            return Err(ApiError::unavailable(detail, Duration::from_secs(5)));
        }
        state.watchers += 1;
        let entry = state.watched.entry(id).or_insert_with(|| Entry {
            mark: seen,
            watchers: 0,
            sender: watch::Sender::new(None),
        });
        // Nothing was told yet that this one could be told: the next look must find what it has not seen.
        if let (Some(seen), Some(mark)) = (seen, entry.mark)
            && seen < mark
            && entry.sender.borrow().is_none()
        {
            entry.mark = Some(seen);
        }
        entry.watchers += 1;
        let mut receiver = entry.sender.subscribe();
        // What others were told may be newer than what this one has read.
        receiver.mark_changed();
        if !std::mem::replace(&mut state.polling, true) {
            tokio::spawn(self.clone().poll());
        }
        count::<W>(state.watchers);
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

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn poll(self) {
        let mut pause = W::TICK;
        let mut failing = false;
        loop {
            tokio::time::sleep(pause).await;
            let ids: Vec<Uuid> = {
                let mut state = self.state();
                if state.watched.is_empty() {
                    state.polling = false;
                    return;
                }
                state.watched.keys().copied().collect()
            };
            let started = Instant::now();
            pause = match self.look(&ids).await {
                Ok(()) => {
                    failing = false;
                    (started.elapsed() * IDLE_SHARE).clamp(W::TICK, W::LONGEST_TICK)
                }
                Err(error) => {
                    // Once per outage: the streams stay open and hear of the moves when the database is back.
                    if !std::mem::replace(&mut failing, true) {
                        error.log();
                    }
                    W::LONGEST_TICK
                }
            };
        }
    }

    /// Finds those that moved, and tells their watchers.
    async fn look(&self, ids: &[Uuid]) -> ApiResult<()> {
        let mut conn = self.0.pool.get().await?;
        for chunk in ids.chunks(CHUNK) {
            let marks = W::marks(&mut conn, chunk).await?;
            let moved: Vec<Uuid> = {
                let state = self.state();
                let moved = |id: &Uuid| {
                    state.watched.get(id).is_some_and(|entry| {
                        W::has_moved(entry.mark, marks.get(id).copied(), entry.sender.borrow().as_deref())
                    })
                };
                chunk.iter().copied().filter(moved).collect()
            };
            for chunk in moved.chunks(LOAD_CHUNK) {
                let views: Vec<_> = W::load(&mut conn, chunk).await?.into_iter().map(Arc::new).collect();
                let mut state = self.state();
                for view in views {
                    let id = W::id(&view);
                    if let Some(entry) = state.watched.get_mut(&id) {
                        entry.mark = Some(W::mark(&view, marks.get(&id).copied()));
                        entry.sender.send_replace(Some(view));
                    }
                }
            }
        }
        Ok(())
    }
}

impl<W: Watched> Watcher<W> {
    /// The thing after its next move; nothing when the hub closes. Moves that follow each other fast come as one.
    pub async fn moved(&mut self) -> Option<Arc<W::View>> {
        loop {
            tokio::select! {
                biased;
                changed = self.receiver.changed() => changed.ok()?,
                () = self.hub.0.closed.cancelled() => return None,
            }
            let newest = self.receiver.borrow_and_update().clone();
            if let Some(view) = newest.filter(|view| W::is_news(view, self.seen)) {
                return Some(view);
            }
        }
    }
}

impl<W: Watched> Drop for Watcher<W> {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watchers = state.watchers.saturating_sub(1);
        if let Some(entry) = state.watched.get_mut(&self.id) {
            entry.watchers -= 1;
            if entry.watchers == 0 {
                state.watched.remove(&self.id);
            }
        }
        count::<W>(state.watchers);
    }
}

/// Sets the gauge; some 10,000 are far from where a float loses count.
fn count<W: Watched>(watchers: usize) {
    metrics::gauge!(W::GAUGE).set(u32::try_from(watchers).map_or(f64::MAX, f64::from));
}
