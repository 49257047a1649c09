//! Batches: any number of jobs, and what comes when all are over.

use diesel::QueryResult;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    FlowError, OnDead,
    head::{Head, head_methods},
    settle,
};
use crate::{
    contract::Job,
    enqueue::{Enqueue, Row, insert},
};

/// Jobs in one statement.
const CHUNK: usize = 1_000;

/// A batch that is not started yet.
///
/// Its jobs are given here, or enqueued with [`Enqueue::flow_id`] between [`open`](Self::open) and [`seal`]; a job of the batch
/// may add others even after that, for as long as it runs, best in the transaction that finishes it.
#[must_use = "a batch does nothing until it is started"]
pub struct Batch {
    head: Head,
    on_dead: OnDead,
    rows: Vec<Row>,
}

impl Batch {
    /// A batch without jobs. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self { head: Head::new(name.into()), on_dead: OnDead::default(), rows: Vec::new() }
    }

    head_methods!(
        "Enqueued once, when no job of it is live any more and nobody adds any: all are done, cancelled, discarded or dead.",
        "Enqueued once, when the first job of it is dead."
    );

    /// Gives it an id.
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.head.common.flow = id;
        self
    }

    /// What a dead job means for the batch. By default it is over without it, as `failed`, and stays so if somebody retries the dead
    /// letter later. With [`OnDead::Wait`] it stays open, and its callback waits, until each of its dead letters was retried to
    /// the end, or discarded.
    pub fn on_dead(mut self, on_dead: OnDead) -> Self {
        self.on_dead = on_dead;
        self
    }

    /// Adds jobs. Each is part of the batch or the batch is not started: one whose unique slot another job has is
    /// [`FlowError::Taken`].
    pub fn jobs<J: Job>(mut self, jobs: impl IntoIterator<Item = J>) -> Self {
        for job in jobs {
            let row = Row::new(&job, Enqueue::default());
            self.rows.extend(self.head.noted(row));
        }
        self
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
        if let Some(error) = self.head.error.take() {
            return Err(error);
        }
        self.head.insert(conn, "batch", sealed, self.on_dead.as_str()).await?;
        let common = &self.head.common;
        for row in &mut self.rows {
            row.flow_id = Some(common.flow);
            row.owner_id = row.owner_id.or(common.owner_id);
            row.correlation_id = row.correlation_id.or(common.correlation_id);
            row.subject_id = row.subject_id.or(common.subject_id);
        }
        // Unique slots are taken in one order within a statement, and not from one to the next.
        let unique = self.rows.iter().any(|row| row.unique.is_some());
        for rows in self.rows.chunks(if unique { self.rows.len() } else { CHUNK }) {
            for (row, answer) in rows.iter().zip(insert(conn, rows).await?) {
                if !answer.is_new() {
                    return Err(FlowError::Taken { kind: row.kind.clone(), holder: answer.id() });
                }
            }
        }
        Ok(common.flow)
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
