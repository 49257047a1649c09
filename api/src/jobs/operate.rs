//! What operators do to jobs: one way for one and for thousands.

use poem_openapi::Enum;
use uuid::Uuid;
use waybill_jobs::cancel;
use waybill_schema::{
    Conn, new_id,
    system::{
        jobs::Found,
        rework::{self, Touched},
    },
};

use crate::error::ApiResult;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Action {
    /// Dead jobs are queued again under their ids with all their attempts; finished ones are enqueued once more, as new
    /// jobs; scheduled ones are made due. Queued and running ones are left alone.
    Retry,
    /// Waiting jobs are over at once; running ones are asked to end, and compensate if their kind can.
    Cancel,
    /// Waiting and dead jobs go into the history; nothing of them runs, not even compensation. Running ones are left alone.
    Discard,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Jobs that were changed; running ones that were asked to end among them.
    pub changed: usize,
    /// The jobs that there are now, or that were touched, with their queues. Empty after a cancellation.
    pub touched: Vec<Touched>,
}

impl Action {
    /// As the record of changes has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "job.retry",
            Self::Cancel => "job.cancel",
            Self::Discard => "job.discard",
        }
    }
}

/// Does it to all of `jobs`, in the transaction open on `conn`. Jobs that have moved since they were found are left alone.
pub async fn apply(
    conn: &mut Conn,
    action: Action,
    jobs: &[Found],
    actor: &str,
    reason: &str,
) -> ApiResult<Done> {
    let ids = |state: &dyn Fn(&str) -> bool| -> Vec<Uuid> {
        jobs.iter().filter(|job| state(&job.state)).map(|job| job.id).collect()
    };
    let mut done = Done::default();
    match action {
        Action::Retry => {
            let dead = ids(&|state| state == "dead");
            if !dead.is_empty() {
                done.touched.extend(rework::revive(conn, &dead).await?);
            }
            let scheduled = ids(&|state| state == "scheduled");
            if !scheduled.is_empty() {
                done.touched.extend(rework::hurry(conn, &scheduled).await?);
            }
            let over = ids(&is_over);
            if !over.is_empty() {
                let fresh: Vec<Uuid> = over.iter().map(|_| new_id()).collect();
                done.touched.extend(rework::repeat(conn, &over, &fresh).await?);
            }
        }
        Action::Discard => {
            let idle = ids(&|state| !is_over(state) && state != "running");
            if !idle.is_empty() {
                done.touched = rework::discard(conn, &idle, actor).await?;
            }
        }
        Action::Cancel => {
            let live = ids(&|state| !is_over(state) && state != "dead");
            if !live.is_empty() {
                done.changed = cancel::cancel_all(conn, &live, actor, reason).await?.total();
            }
            return Ok(done);
        }
    }
    done.changed = done.touched.len();
    Ok(done)
}

/// Whether a job in this state has left for the history.
pub fn is_over(state: &str) -> bool {
    matches!(state, "done" | "cancelled" | "discarded")
}
