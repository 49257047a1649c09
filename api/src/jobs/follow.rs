//! Following jobs: one poller per process, however many clients follow, as for orders.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::status::{self, JobView};
use waybill_schema::{Pool, system::jobs};

use super::operate::is_over;
use crate::error::{ApiError, ApiResult};

/// Followers of one process at most.
const MAX_FOLLOWERS: usize = 10_000;
/// Pause between two looks.
const TICK: Duration = Duration::from_millis(200);
/// The pause grows to this when looking takes long, or fails.
const LONGEST_TICK: Duration = Duration::from_secs(2);
/// A look takes a quarter of the time at most.
const IDLE_SHARE: u32 = 3;
/// Jobs asked for in one query.
const CHUNK: usize = 5_000;

/// Who follows which job in this process. Clones share it.
#[derive(Clone)]
pub struct JobHub(Arc<Inner>);

struct Inner {
    pool: Pool,
    state: Mutex<State>,
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    jobs: HashMap<Uuid, Followed>,
    followers: usize,
    polling: bool,
}

struct Followed {
    /// As last looked at; none before the first look.
    mark: Option<i64>,
    followers: usize,
    sender: watch::Sender<Option<Arc<JobView>>>,
}

/// One who follows one job; ends with being dropped.
pub struct Follower {
    hub: JobHub,
    id: Uuid,
    receiver: watch::Receiver<Option<Arc<JobView>>>,
}

/// Whether nothing more will happen to it, short of an operator.
pub fn is_settled(job: &JobView) -> bool {
    is_over(&job.state) || job.state == "dead"
}

impl JobHub {
    /// A hub that nobody follows through yet.
    pub fn new(pool: Pool) -> Self {
        Self(Arc::new(Inner { pool, state: Mutex::default(), closed: CancellationToken::new() }))
    }

    /// Follows a job; 503 when too many follow already. Must be called in a runtime.
    pub fn follow(&self, id: Uuid) -> ApiResult<Follower> {
        let mut state = self.state();
        if state.followers >= MAX_FOLLOWERS {
            let detail = "too many clients follow jobs at the moment; poll instead";
            return Err(ApiError::unavailable(detail, Duration::from_secs(5)));
        }
        state.followers += 1;
        let followed = state.jobs.entry(id).or_insert_with(|| Followed {
            mark: None,
            followers: 0,
            sender: watch::Sender::new(None),
        });
        followed.followers += 1;
        let mut receiver = followed.sender.subscribe();
        // What others were told may be newer than what this one has read.
        receiver.mark_changed();
        if !std::mem::replace(&mut state.polling, true) {
            tokio::spawn(self.clone().poll());
        }
        drop(state);
        Ok(Follower { hub: self.clone(), id, receiver })
    }

    /// Ends every stream, now and from now on: clients ask another process.
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
                if state.jobs.is_empty() {
                    state.polling = false;
                    return;
                }
                state.jobs.keys().copied().collect()
            };
            let started = Instant::now();
            pause = match self.look(&ids).await {
                Ok(()) => {
                    failing = false;
                    (started.elapsed() * IDLE_SHARE).clamp(TICK, LONGEST_TICK)
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        error.log();
                    }
                    LONGEST_TICK
                }
            };
        }
    }

    /// Finds the jobs that moved, and tells their followers.
    async fn look(&self, ids: &[Uuid]) -> ApiResult<()> {
        let mut conn = self.0.pool.get().await?;
        for chunk in ids.chunks(CHUNK) {
            let marks: HashMap<Uuid, i64> =
                jobs::marks(&mut conn, chunk).await?.into_iter().map(|row| (row.id, row.mark)).collect();
            let moved: Vec<Uuid> = {
                let state = self.state();
                let moved = |id: &Uuid| {
                    state.jobs.get(id).is_some_and(|followed| match (followed.mark, marks.get(id)) {
                        (Some(seen), Some(now)) => seen != *now,
                        (None, _) => true,
                        // Over. Once that has been told nobody follows it any more, unless it is asked for again.
                        (Some(_), None) => !followed.sender.borrow().as_deref().is_some_and(is_settled),
                    })
                };
                chunk.iter().copied().filter(moved).collect()
            };
            for id in moved {
                let job = status::find(&mut conn, id).await?.map(Arc::new);
                if let (Some(job), Some(followed)) = (job, self.state().jobs.get_mut(&id)) {
                    // Of a job that ended between the two looks the mark says nothing: the next look finds it gone.
                    followed.mark = Some(marks.get(&id).copied().unwrap_or_default());
                    followed.sender.send_replace(Some(job));
                }
            }
        }
        Ok(())
    }
}

impl Follower {
    /// The job after its next move; nothing when the hub closes. Moves that follow each other fast come as one.
    pub async fn moved(&mut self) -> Option<Arc<JobView>> {
        loop {
            tokio::select! {
                changed = self.receiver.changed() => changed.ok()?,
                () = self.hub.0.closed.cancelled() => return None,
            }
            if let Some(job) = self.receiver.borrow_and_update().clone() {
                return Some(job);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.followers = state.followers.saturating_sub(1);
        if let Some(followed) = state.jobs.get_mut(&self.id) {
            followed.followers -= 1;
            if followed.followers == 0 {
                state.jobs.remove(&self.id);
            }
        }
    }
}
