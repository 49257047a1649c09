//! Jobs that belong together, as data.
//!
//! A **batch** is any number of jobs, and a job to enqueue when all of them are over, or when one is dead. A **workflow** is
//! steps that need each other: chains, fan-out, fan-in; later steps read the results of earlier ones, and when a step is
//! dead those that are done are undone, the last first.
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)] struct Fetch { url: String }
//! # impl waybill_jobs::Job for Fetch { const KIND: &'static str = "doc.fetch"; const QUEUE: &'static str = "doc"; }
//! # #[derive(Serialize, Deserialize)] struct Forget { url: String }
//! # impl waybill_jobs::Job for Forget { const KIND: &'static str = "doc.forget"; const QUEUE: &'static str = "doc"; }
//! # #[derive(Serialize, Deserialize)] struct Merge;
//! # impl waybill_jobs::Job for Merge { const KIND: &'static str = "doc.merge"; const QUEUE: &'static str = "doc"; }
//! # async fn start(conn: &mut waybill_schema::Conn) -> Result<(), waybill_jobs::flows::FlowError> {
//! use waybill_jobs::{Batch, Workflow};
//!
//! // Fan-out and fan-in. `merge` reads what the others came to with `context.step_result(conn, "left")`.
//! let flow = Workflow::new("doc.compare")
//!     .step("left", &Fetch { url: "https://example.org/1".to_owned() })
//!     .undo(&Forget { url: "https://example.org/1".to_owned() })
//!     .step("right", &Fetch { url: "https://example.org/2".to_owned() })
//!     .step("merge", &Merge)
//!     .after(["left", "right"])
//!     .start(conn)
//!     .await?;
//!
//! // A batch, with a job for when it is over.
//! let pages = (1..=100).map(|page| Fetch { url: format!("https://example.org/{page}") });
//! let batch = Batch::new("doc.pages").when_over(&Merge).jobs(pages).start(conn).await?;
//! # let _ = (flow, batch);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing counts jobs as they end: a counter would be the one row for which every job of a batch waits. After a completion
//! has been committed, the worker asks of the tables whether the flow goes on, with the flow's row locked; a [`sweep`] does
//! it for the worker that died in between. Neither waits for a flow that somebody else has locked: it is tried again. What
//! follows is enqueued in the transaction that notes it, so no crash forks a flow or makes it stand still. Jobs without a flow
//! pay nothing.

mod batch;
mod head;
mod list;
mod locked;
mod planned;
mod settle;
mod settler;
mod steps;
mod view;
mod workflow;

use diesel::sql_types::{BigInt, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_schema::Conn;

pub use batch::{Batch, seal};
pub use list::{Filter, FlowRow, held, held_by, list};
pub use settle::sweep;
pub(crate) use settle::sweep_after;
pub(crate) use settler::Settler;
pub use view::{FlowView, StepView, find, find_for_owner, open, steps as steps_of};
pub use workflow::{OnDead, Workflow};

use crate::{cancel::cancel_all, enqueue::EnqueueError};

/// Why a flow was not started. The caller's transaction cannot be committed after the second.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The steps do not make a workflow.
    #[error("workflow: {0}")]
    Steps(String),
    /// A job that is enqueued later, a step's or a callback, is unique.
    #[error("jobs of the kind {0} are unique, and cannot be planned: enqueue one from a step")]
    Unique(&'static str),
    /// A job of a batch was not enqueued, because another has its unique slot.
    #[error("a job of the kind {kind} cannot be part of the batch: {holder} has its unique slot")]
    Taken {
        /// Its kind.
        kind: String,
        /// Who has it.
        holder: Uuid,
    },
    /// A job could not be enqueued, or put into words.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// A statement failed.
    #[error("flow: {0}")]
    Database(#[from] diesel::result::Error),
}

#[derive(QueryableByName)]
struct Came {
    #[diesel(sql_type = Nullable<Jsonb>)]
    result: Option<Value>,
}

/// What a step of a workflow that is done came to.
pub(crate) async fn result_of(conn: &mut Conn, flow_id: Uuid, step: &str) -> QueryResult<Option<Value>> {
    let found: Option<Came> = waybill_schema::sql(
        "select result from flow_steps where flow_id = $1 and name = $2 and state = 'done'",
    )
    .bind::<SqlUuid, _>(flow_id)
    .bind::<Text, _>(step)
    .get_result(conn)
    .await
    .optional()?;
    Ok(found.and_then(|found| found.result))
}

#[derive(QueryableByName)]
struct Live {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Jobs of a batch cancelled in one statement.
const CANCELLED_AT_ONCE: i64 = 1_000;

/// Cancels a flow in the transaction open on `conn`: its waiting jobs are over, its running ones are asked to end, and no step
/// of it starts any more. A workflow's steps that are done are undone, the last first; then it is `cancelled`, and its
/// callback for the end is enqueued all the same. False if it is over, or there is none.
pub async fn cancel(conn: &mut Conn, id: Uuid, by: &str, reason: &str) -> QueryResult<bool> {
    // Whoever calls it without a transaction must not hold the flow in one statement and its jobs in the next.
    conn.transaction(async |conn| cancel_locked(conn, id, by, reason).await).await
}

async fn cancel_locked(conn: &mut Conn, id: Uuid, by: &str, reason: &str) -> QueryResult<bool> {
    let marked = waybill_schema::sql(
        "update flows set sealed = true,
             cancel = coalesce(cancel, $2 || jsonb_build_object('at', clock_timestamp()))
         where id = $1 and finished_at is null",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Jsonb, _>(json!({ "by": by, "reason": reason }))
    .execute(conn)
    .await?;
    if marked == 0 {
        return Ok(false);
    }
    loop {
        // Those that undo already are not among them: compensations by kind were cancelled before, and the steps' own are
        // what cancelling the flow is for.
        let live: Vec<Live> = waybill_schema::sql(
            "select id from jobs j where flow_id = $1 and cancel is null
               and not exists (select from flow_steps s where s.flow_id = j.flow_id and s.undo_job_id = j.id)
             limit $2",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<BigInt, _>(CANCELLED_AT_ONCE)
        .load(conn)
        .await?;
        if live.is_empty() {
            break;
        }
        let ids: Vec<_> = live.into_iter().map(|job| job.id).collect();
        if cancel_all(conn, &ids, by, reason).await?.total() == 0 {
            break;
        }
    }
    settle::one(conn, id).await?;
    Ok(true)
}
