//! Jobs wherever they are: live ones, finished ones and dead ones as one.

use std::ops::Deref;

use chrono::{DateTime, Utc};
use diesel::{
    QueryableByName,
    sql_types::{Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// The columns of a [`JobRow`] that all three tables have under one name.
macro_rules! row_columns {
    () => {
        "id, kind, queue, priority, attempt, max_attempts, snoozes, run_at, created_at, claimed_at as started_at, worker_id,
         correlation_id, causation_id, owner_id, failures -> -1 as last_failure"
    };
}

mod list;
mod one;
pub mod waits;

pub use self::{
    list::{Filter, Found, find_ids, list},
    one::{Inside, Mark, find, inside, marks},
};

/// A job as lists show it, wherever it is.
#[derive(Debug, Clone, Serialize, QueryableByName)]
pub struct JobRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its permanent kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Its queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// `scheduled`, `queued`, `running`, `done`, `cancelled`, `discarded` or `dead`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Smaller runs first.
    #[diesel(sql_type = SmallInt)]
    pub priority: i16,
    /// The running attempt, or the last one.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// Attempts before it becomes a dead letter.
    #[diesel(sql_type = SmallInt)]
    pub max_attempts: i16,
    /// Times it was snoozed.
    #[diesel(sql_type = Integer)]
    pub snoozes: i32,
    /// When it is due, or was.
    #[diesel(sql_type = Timestamptz)]
    pub run_at: DateTime<Utc>,
    /// Enqueued.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// The newest attempt's begin.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Who runs it, or ran it last.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub worker_id: Option<Uuid>,
    /// The order, import, ... it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// What enqueued it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub causation_id: Option<Uuid>,
    /// The user who may read it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub owner_id: Option<Uuid>,
    /// Why it was cancelled, discarded or given up.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// The newest entry of its attempts that did not end in done.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub last_failure: Option<Value>,
}

/// One job with what came of it.
#[derive(Debug, Clone, Serialize, QueryableByName)]
pub struct JobView {
    /// As lists show it.
    #[diesel(embed)]
    #[serde(flatten)]
    pub job: JobRow,
    /// What its handler last said of how far it is.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub progress: Option<Value>,
    /// What it came to.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub result: Option<Value>,
    /// The attempts that did not end in done.
    #[diesel(sql_type = Jsonb)]
    pub failures: Value,
    /// The batch or workflow it is part of.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub flow_id: Option<Uuid>,
    /// Its name there.
    #[diesel(sql_type = Nullable<Text>)]
    pub step: Option<String>,
    /// Whether somebody asked for its end while it ran or had begun.
    #[diesel(sql_type = Bool)]
    pub cancel_asked: bool,
    /// Whether its attempts are those of its compensation.
    #[diesel(sql_type = Bool)]
    pub undo: bool,
    /// What a claim has put it aside for, as in `jobs.hold`.
    #[diesel(sql_type = Nullable<Text>)]
    pub hold: Option<String>,
}

// A view is a row and more: whoever reads one does not care which part a field is in.
impl Deref for JobView {
    type Target = JobRow;

    fn deref(&self) -> &JobRow {
        &self.job
    }
}
