//! What operators do to jobs: one way for one and for thousands.

use std::collections::{BTreeMap, HashSet};

use poem_openapi::Enum;
use uuid::Uuid;
use waybill_jobs::{cancel, kinds::list};
use waybill_schema::{
    Conn, imports, new_id,
    system::{
        jobs::Found,
        obstacles::{self, Obstacle, Why},
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

/// An action as it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// What to do.
    pub action: Action,
    /// Who asked.
    pub actor: &'a str,
    /// Why, for the jobs' history.
    pub reason: &'a str,
    /// Whether to retry beside a job that has the unique slot.
    pub force: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Jobs that were changed; running ones that were asked to end among them.
    pub changed: usize,
    /// The jobs that there are now, or that were touched, with their queues. Empty after a cancellation.
    pub touched: Vec<Touched>,
    /// Those that were left alone, with what was in the way.
    pub obstacles: Vec<Obstacle>,
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

    const fn verb(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
        }
    }
}

impl Wish<'_> {
    /// Those of `jobs` to which it cannot be done now, and why.
    pub async fn obstacles(&self, conn: &mut Conn, jobs: &[Found]) -> ApiResult<Vec<Obstacle>> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        let carriers: Vec<&str> =
            list::ALL.iter().filter(|kind| kind.carries_order).map(|kind| kind.kind).collect();
        Ok(obstacles::obstacles(conn, &ids, self.action.verb(), self.force, &carriers).await?)
    }

    /// Does it to all of `jobs`, in the transaction open on `conn`. Jobs that have moved since they were found, or that something is
    /// in the way of, are left alone.
    pub async fn apply(&self, conn: &mut Conn, jobs: &[Found]) -> ApiResult<Done> {
        let obstacles = self.obstacles(conn, jobs).await?;
        let barred: HashSet<Uuid> = obstacles.iter().map(|obstacle| obstacle.id).collect();
        let ids = |state: &dyn Fn(&str) -> bool| -> Vec<Uuid> {
            jobs.iter()
                .filter(|job| state(&job.state) && !barred.contains(&job.id))
                .map(|job| job.id)
                .collect()
        };
        let mut done = Done { obstacles, ..Done::default() };
        match self.action {
            Action::Retry => {
                let dead = ids(&|state| state == "dead");
                if !dead.is_empty() {
                    done.touched.extend(rework::revive(conn, &dead, self.force).await?);
                }
                let scheduled = ids(&|state| state == "scheduled");
                if !scheduled.is_empty() {
                    done.touched.extend(rework::hurry(conn, &scheduled).await?);
                }
                let over = ids(&is_over);
                if !over.is_empty() {
                    let fresh: Vec<Uuid> = over.iter().map(|_| new_id()).collect();
                    done.touched.extend(rework::repeat(conn, &over, &fresh, self.force).await?);
                }
            }
            Action::Discard => {
                let idle = ids(&|state| !is_over(state) && state != "running");
                if !idle.is_empty() {
                    done.touched = rework::discard(conn, &idle, self.actor).await?;
                    imports::run::close(conn, &idle).await?;
                }
            }
            Action::Cancel => {
                let live = ids(&|state| !is_over(state) && state != "dead");
                if !live.is_empty() {
                    done.changed = cancel::cancel_all(conn, &live, self.actor, self.reason).await?.total();
                    imports::run::close(conn, &live).await?;
                }
                return Ok(done);
            }
        }
        done.changed = done.touched.len();
        Ok(done)
    }
}

/// How often each thing was in the way.
pub fn count(obstacles: &[Obstacle], counts: &mut BTreeMap<Why, i64>) {
    for obstacle in obstacles {
        *counts.entry(obstacle.why).or_default() += 1;
    }
}

/// Whether a job in this state has left for the history.
pub fn is_over(state: &str) -> bool {
    matches!(state, "done" | "cancelled" | "discarded")
}
