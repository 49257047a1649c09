//! Workflows: steps that need each other.

use std::collections::HashSet;

use diesel::sql_types::{Array, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use super::{
    FlowError,
    planned::{Planned, write},
    settle,
};
use crate::{contract::Job, enqueue::EnqueueError};

/// What becomes of a workflow with a dead step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDead {
    /// Its other steps are cancelled, those that are done are undone, the last first, and it is `failed`.
    #[default]
    Compensate,
    /// It waits until somebody has retried the dead letter; steps that do not need that one go on.
    Wait,
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
    id: Uuid,
    name: String,
    on_dead: OnDead,
    when_over: Option<Planned>,
    when_dead: Option<Planned>,
    owner_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    steps: Vec<Step>,
    error: Option<FlowError>,
}

impl Workflow {
    /// A workflow without steps. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            id: new_id(),
            name: name.into(),
            on_dead: OnDead::default(),
            when_over: None,
            when_dead: None,
            owner_id: None,
            correlation_id: None,
            subject_id: None,
            steps: Vec::new(),
            error: None,
        }
    }

    /// Its id, to be named in the arguments of its jobs.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Adds a step that needs no other, unless [`after`](Self::after) follows.
    pub fn step<J: Job>(mut self, name: impl Into<String>, job: &J) -> Self {
        let name = name.into();
        if let Some(job) = self.plan(job) {
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
        let undo = self.plan(job);
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

    /// Enqueued once, when it is over: done, failed or cancelled.
    pub fn when_over<J: Job>(mut self, job: &J) -> Self {
        self.when_over = self.plan(job);
        self
    }

    /// Enqueued once, when its first step is dead.
    pub fn when_dead<J: Job>(mut self, job: &J) -> Self {
        self.when_dead = self.plan(job);
        self
    }

    /// The user who may read it and its jobs.
    pub fn owner(mut self, owner_id: Uuid) -> Self {
        self.owner_id = Some(owner_id);
        self
    }

    /// Whose trail it belongs to.
    pub fn correlation(mut self, correlation_id: Uuid) -> Self {
        self.correlation_id = Some(correlation_id);
        self
    }

    /// The person whose data it is about.
    pub fn subject(mut self, subject_id: Uuid) -> Self {
        self.subject_id = Some(subject_id);
        self
    }

    fn plan<J: Job>(&mut self, job: &J) -> Option<Planned> {
        match Planned::of(job) {
            Ok(planned) => Some(planned),
            Err(error) => {
                self.error.get_or_insert(error.into());
                None
            }
        }
    }

    /// A step may need only those before it, so that no circle can be said.
    fn check(&mut self) -> Result<(), FlowError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.steps.is_empty() {
            return Err(FlowError::Steps(format!("{} has no steps", self.name)));
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
        let on_dead = match self.on_dead {
            OnDead::Compensate => "compensate",
            OnDead::Wait => "wait",
        };
        waybill_schema::sql(
            "insert into flows (id, kind, name, sealed, on_dead_step, when_over, when_dead, correlation_id, owner_id, subject_id)
             values ($1, 'workflow', $2, true, $3, $4, $5, $6, $7, $8)",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<Text, _>(&self.name)
        .bind::<Text, _>(on_dead)
        .bind::<Nullable<Jsonb>, _>(self.when_over.as_ref().map(write).transpose()?)
        .bind::<Nullable<Jsonb>, _>(self.when_dead.as_ref().map(write).transpose()?)
        .bind::<Nullable<SqlUuid>, _>(self.correlation_id)
        .bind::<Nullable<SqlUuid>, _>(self.owner_id)
        .bind::<Nullable<SqlUuid>, _>(self.subject_id)
        .execute(conn)
        .await?;
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
        .bind::<SqlUuid, _>(self.id)
        .bind::<Array<Text>, _>(self.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>())
        .bind::<Array<Integer>, _>((0..).take(self.steps.len()).collect::<Vec<i32>>())
        .bind::<Array<Jsonb>, _>(needs)
        .bind::<Array<Jsonb>, _>(jobs)
        .bind::<Array<Nullable<Jsonb>>, _>(undos)
        .execute(conn)
        .await?;
        settle::one(conn, self.id).await?;
        Ok(self.id)
    }
}
