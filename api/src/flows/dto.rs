//! A flow on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::flows::{self, FlowRow, FlowView, StepView};
use waybill_schema::Conn;

use crate::error::ApiResult;

/// Dead letters named with a flow.
const LETTERS: i64 = 100;

/// A batch or workflow in a list.
#[derive(Debug, Object)]
pub struct FlowSummary {
    /// Id.
    pub id: Uuid,
    /// `batch` or `workflow`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// `running`, `undoing`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Whether somebody cancelled it; it may still be turning back.
    pub cancelled: bool,
    /// Whether it stands still until somebody has retried or discarded a dead letter: one that undoes a step, or any where the
    /// flow waits for its dead jobs.
    pub held: bool,
    /// Once over: its jobs by how they ended.
    pub report: Option<Value>,
    /// The order, import, ... it belongs to.
    pub correlation_id: Option<Uuid>,
    /// The user who may read it.
    pub owner_id: Option<Uuid>,
    /// Started.
    pub created_at: DateTime<Utc>,
    /// Over.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<FlowRow> for FlowSummary {
    fn from(row: FlowRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            name: row.name,
            state: row.state,
            cancelled: row.cancelled,
            held: row.held,
            report: row.report,
            correlation_id: row.correlation_id,
            owner_id: row.owner_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

/// A step of a workflow.
#[derive(Debug, Object)]
#[oai(rename = "FlowStep")]
pub struct StepDto {
    /// Its name.
    pub name: String,
    /// The steps it needs.
    pub needs: Vec<String>,
    /// `waiting`, `live`, `done`, `dead`, `cancelled`, `skipped` (never begun), `undoing`, `undone` or `not_undone` (what undoes
    /// it was discarded).
    pub state: String,
    /// Its job, once there is one.
    pub job_id: Option<Uuid>,
    /// The job that undoes it.
    pub undo_job_id: Option<Uuid>,
    /// What it came to.
    pub result: Option<Value>,
}

impl From<StepView> for StepDto {
    fn from(row: StepView) -> Self {
        Self {
            name: row.name,
            needs: row.needs,
            state: row.state,
            job_id: row.job_id,
            undo_job_id: row.undo_job_id,
            result: row.result,
        }
    }
}

/// How far a flow is.
#[derive(Debug, Object)]
#[oai(rename = "FlowProgress")]
pub struct ProgressDto {
    /// What is through: jobs of a batch that are over or dead, steps of a workflow that are done.
    pub done: i64,
    /// Of how many: jobs that the batch has so far, steps of the workflow.
    pub total: i64,
}

/// A batch or workflow.
#[derive(Debug, Object)]
#[oai(rename = "Flow")]
pub struct FlowDto {
    /// Id.
    pub id: Uuid,
    /// `batch` or `workflow`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// `running`, `undoing`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Whether nobody but its own jobs adds to it.
    pub sealed: bool,
    /// How far it is.
    pub progress: ProgressDto,
    /// Its jobs by state, counted now: steps, what undoes them, jobs of a batch. Its callbacks are not among them.
    pub jobs: Value,
    /// The steps of a workflow in order; a batch has none.
    pub steps: Vec<StepDto>,
    /// The dead letters, at most 100, that somebody must retry or discard before it goes on.
    pub held_by: Vec<Uuid>,
    /// Whether somebody cancelled it.
    pub cancelled: bool,
    /// Who cancelled it. Administrators only.
    pub cancelled_by: Option<String>,
    /// Why. Administrators only.
    pub cancel_reason: Option<String>,
    /// The order, import, ... it belongs to.
    pub correlation_id: Option<Uuid>,
    /// Started.
    pub created_at: DateTime<Utc>,
    /// Over.
    pub finished_at: Option<DateTime<Utc>>,
}

impl FlowDto {
    /// A flow with its steps; who cancelled it and why only for those who run the shop.
    pub async fn load(conn: &mut Conn, flow: FlowView, with_internals: bool) -> ApiResult<Self> {
        let steps: Vec<StepDto> = flows::steps_of(conn, flow.id).await?.into_iter().map(Into::into).collect();
        let held_by = flows::held_by(conn, flow.id, LETTERS).await?;
        let said = |name: &str| {
            let text =
                flow.cancel.as_ref().filter(|_| with_internals).and_then(|cancel| cancel[name].as_str());
            text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        let (cancelled_by, cancel_reason) = (said("by"), said("reason"));
        Ok(Self {
            progress: progress(&flow, &steps),
            id: flow.id,
            kind: flow.kind,
            name: flow.name,
            state: flow.state,
            sealed: flow.sealed,
            jobs: flow.jobs,
            steps,
            held_by,
            cancelled: flow.cancel.is_some(),
            cancelled_by,
            cancel_reason,
            correlation_id: flow.correlation_id,
            created_at: flow.created_at,
            finished_at: flow.finished_at,
        })
    }
}

fn progress(flow: &FlowView, steps: &[StepDto]) -> ProgressDto {
    let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    if flow.kind == "workflow" {
        let done = steps.iter().filter(|step| step.state == "done").count();
        return ProgressDto { done: size(done), total: size(steps.len()) };
    }
    let of = |live: bool| -> i64 {
        let counts = flow.jobs.as_object().into_iter().flatten();
        counts
            .filter(|(state, _)| matches!(state.as_str(), "scheduled" | "queued" | "running") == live)
            .filter_map(|(_, count)| count.as_i64())
            .sum()
    };
    ProgressDto { done: of(false), total: of(false) + of(true) }
}
