//! Batches: any number of jobs, and what comes when all are over.

use diesel::QueryResult;
use diesel::sql_types::{Bool, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use super::{
    FlowError,
    planned::{Planned, write},
    settle,
};
use crate::{
    contract::Job,
    enqueue::{Enqueue, EnqueueError, Row, insert},
};

/// Jobs in one statement.
const CHUNK: usize = 1_000;

/// A batch that is not started yet.
///
/// Its jobs are given here, or enqueued with [`Enqueue::flow_id`] between [`open`](Self::open) and [`seal`]; a job of the batch
/// may add others even after that, for as long as it runs, best in the transaction that finishes it.
#[must_use = "a batch does nothing until it is started"]
pub struct Batch {
    id: Uuid,
    name: String,
    when_over: Option<Planned>,
    when_dead: Option<Planned>,
    owner_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    rows: Vec<Row>,
    error: Option<EnqueueError>,
}

impl Batch {
    /// A batch without jobs. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            id: new_id(),
            name: name.into(),
            when_over: None,
            when_dead: None,
            owner_id: None,
            correlation_id: None,
            subject_id: None,
            rows: Vec::new(),
            error: None,
        }
    }

    /// Its id, to be named in the arguments of its jobs and callbacks.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Gives it an id.
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Enqueued once, when no job of it is live any more and nobody adds any: all are done, cancelled, discarded or dead.
    pub fn when_over<J: Job>(mut self, job: &J) -> Self {
        self.when_over = self.plan(job);
        self
    }

    /// Enqueued once, when the first job of it is dead.
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

    /// Adds jobs.
    pub fn jobs<J: Job>(mut self, jobs: impl IntoIterator<Item = J>) -> Self {
        for job in jobs {
            match Row::new(&job, Enqueue::default()) {
                Ok(row) => self.rows.push(row),
                Err(error) => {
                    self.error.get_or_insert(error);
                }
            }
        }
        self
    }

    fn plan<J: Job>(&mut self, job: &J) -> Option<Planned> {
        match Planned::of(job) {
            Ok(planned) => Some(planned),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    /// Writes it with its jobs in the transaction open on `conn`; nobody but its own jobs adds to it any more. Returns its id.
    pub async fn start(self, conn: &mut Conn) -> Result<Uuid, FlowError> {
        conn.transaction(async |conn| {
            let id = self.write(conn, true).await?;
            settle::one(conn, id).await?;
            Ok(id)
        })
        .await
    }

    /// [`start`](Self::start), but it is not over before [`seal`], whatever becomes of its jobs.
    pub async fn open(self, conn: &mut Conn) -> Result<Uuid, FlowError> {
        conn.transaction(async |conn| self.write(conn, false).await).await
    }

    async fn write(mut self, conn: &mut Conn, sealed: bool) -> Result<Uuid, FlowError> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        waybill_schema::sql(
            "insert into flows (id, kind, name, sealed, when_over, when_dead, correlation_id, owner_id, subject_id)
             values ($1, 'batch', $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<Text, _>(&self.name)
        .bind::<Bool, _>(sealed)
        .bind::<Nullable<Jsonb>, _>(self.when_over.as_ref().map(write).transpose()?)
        .bind::<Nullable<Jsonb>, _>(self.when_dead.as_ref().map(write).transpose()?)
        .bind::<Nullable<SqlUuid>, _>(self.correlation_id)
        .bind::<Nullable<SqlUuid>, _>(self.owner_id)
        .bind::<Nullable<SqlUuid>, _>(self.subject_id)
        .execute(conn)
        .await?;
        for row in &mut self.rows {
            row.flow_id = Some(self.id);
            row.owner_id = row.owner_id.or(self.owner_id);
            row.correlation_id = row.correlation_id.or(self.correlation_id);
            row.subject_id = row.subject_id.or(self.subject_id);
        }
        for rows in self.rows.chunks(CHUNK) {
            insert(conn, rows).await?;
        }
        Ok(self.id)
    }
}

/// Says, in the transaction open on `conn`, that nobody but its own jobs adds to the batch any more: it is over as soon as
/// none of them is live, at once if none is. False if there is no such batch, or it is sealed.
pub async fn seal(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    conn.transaction(async |conn| seal_locked(conn, id).await).await
}

async fn seal_locked(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    let sealed = waybill_schema::sql(
        "update flows set sealed = true where id = $1 and kind = 'batch' and not sealed and finished_at is null",
    )
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .await?;
    if sealed == 1 {
        settle::one(conn, id).await?;
    }
    Ok(sealed == 1)
}
