//! Workflows: steps that need each other.

use std::collections::HashSet;

use diesel::sql_types::{Array, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    FlowError,
    head::{Head, head_methods},
    planned::{Planned, write},
    settle,
};
use crate::{contract::Job, enqueue::EnqueueError};

/// What becomes of a workflow with a dead step, or of a batch with a dead job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDead {
    /// Its other steps are cancelled, those that are done are undone, the last first, and it is `failed`. A batch is `failed` once
    /// its other jobs are over; nothing of it is undone.
    #[default]
    Compensate,
    /// It waits until somebody has retried or discarded the dead letter; the others, but for steps that need that one, go on.
    Wait,
}

impl OnDead {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Compensate => "compensate",
            Self::Wait => "wait",
        }
    }
}

struct Step {
    name: String,
    needs: Vec<String>,
    job: Planned,
    undo: Option<Planned>,
}

/// A workflow that is not started yet.
#[must_use = "a workflow does nothing until it is started"]
pub struct Workflow {
    head: Head,
    on_dead: OnDead,
    steps: Vec<Step>,
}

impl Workflow {
    /// A workflow without steps. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self { head: Head::new(name.into()), on_dead: OnDead::default(), steps: Vec::new() }
    }

    head_methods!(
        "Enqueued once, when it is over: done, failed or cancelled.",
        "Enqueued once, when its first step is dead."
    );

    /// Adds a step that needs no other, unless [`after`](Self::after) follows.
    pub fn step<J: Job>(mut self, name: impl Into<String>, job: &J) -> Self {
        let name = name.into();
        if let Some(job) = self.head.plan(job) {
            self.steps.push(Step { name, needs: Vec::new(), job, undo: None });
        }
        self
    }

    /// Adds a step that needs the one added before it: a chain is a series of these.
    pub fn then<J: Job>(self, name: impl Into<String>, job: &J) -> Self {
        let before = self.steps.last().map(|step| step.name.clone());
        self.step(name, job).after(before)
    }

    /// The steps, added before, that the step added last needs to be done.
    pub fn after<S: Into<String>>(mut self, steps: impl IntoIterator<Item = S>) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.needs.extend(steps.into_iter().map(Into::into));
        }
        self
    }

    /// What undoes the step added last, should the workflow fail or be cancelled after it was done. Without it, a step whose
    /// kind can undo ([`Job::COMPENSATES`]) is undone by its kind, and another leaves nothing to undo.
    pub fn undo<J: Job>(mut self, job: &J) -> Self {
        let undo = self.head.plan(job);
        if let Some(last) = self.steps.last_mut() {
            last.undo = undo;
        }
        self
    }

    /// What a dead step means for the rest.
    pub fn on_dead(mut self, on_dead: OnDead) -> Self {
        self.on_dead = on_dead;
        self
    }

    /// Does the work of this job, and ends with it: once the job is neither live nor a dead letter (discarded, cancelled, deleted by
    /// hand), the workflow is cancelled, by the next sweep of any worker.
    pub fn for_job(mut self, job_id: Uuid) -> Self {
        self.head.for_job = Some(job_id);
        self
    }

    /// A step may need only those before it, so that no circle can be said.
    fn check(&mut self) -> Result<(), FlowError> {
        if let Some(error) = self.head.error.take() {
            return Err(error);
        }
        if self.steps.is_empty() {
            return Err(FlowError::Steps(format!("{} has no steps", self.head.name)));
        }
        let mut known = HashSet::new();
        for step in &mut self.steps {
            step.needs.sort_unstable();
            step.needs.dedup();
            if let Some(need) = step.needs.iter().find(|need| !known.contains(need.as_str())) {
                return Err(FlowError::Steps(format!(
                    "step {} needs {need}, which is not among the steps before it",
                    step.name
                )));
            }
            if !known.insert(step.name.as_str()) {
                return Err(FlowError::Steps(format!("two steps are named {}", step.name)));
            }
        }
        Ok(())
    }

    /// Writes it, and enqueues the steps that need no other, in the transaction open on `conn`. Returns its id.
    pub async fn start(mut self, conn: &mut Conn) -> Result<Uuid, FlowError> {
        self.check()?;
        conn.transaction(async |conn| self.write(conn).await).await
    }

    async fn write(self, conn: &mut Conn) -> Result<Uuid, FlowError> {
        self.head.insert(conn, "workflow", true, self.on_dead.as_str()).await?;
        let id = self.id();
        let jobs = self.steps.iter().map(|step| write(&step.job)).collect::<Result<Vec<_>, _>>()?;
        let undos = self
            .steps
            .iter()
            .map(|step| step.undo.as_ref().map(write).transpose())
            .collect::<Result<Vec<Option<Value>>, EnqueueError>>()?;
        // Postgres has no arrays of arrays of different lengths.
        let needs: Vec<Value> = self.steps.iter().map(|step| step.needs.clone().into()).collect();
        waybill_schema::sql(
            "insert into flow_steps (flow_id, name, place, needs, job, undo)
             select $1, name, place, array(select jsonb_array_elements_text(needs)), job, undo
             from unnest($2, $3, $4, $5, $6) as t(name, place, needs, job, undo)",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<Array<Text>, _>(self.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>())
        .bind::<Array<Integer>, _>((0..).take(self.steps.len()).collect::<Vec<i32>>())
        .bind::<Array<Jsonb>, _>(needs)
        .bind::<Array<Jsonb>, _>(jobs)
        .bind::<Array<Nullable<Jsonb>>, _>(undos)
        .execute(conn)
        .await?;
        settle::one(conn, id).await?;
        Ok(id)
    }
}
