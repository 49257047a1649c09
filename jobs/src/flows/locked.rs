//! A flow's row, locked by whoever looks after the flow.

use diesel::sql_types::{Bool, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_schema::Conn;

use super::planned::{Common, put, read};

// A statement of its own: the next one sees what was committed while this one waited.
macro_rules! lock {
    ($more:literal, $how:literal) => {
        concat!(
            "select id, kind, state, sealed, on_dead_step, when_over, when_dead, dead_told_at is not null as told,
                    correlation_id, owner_id, subject_id, cancel, for_job",
            $more,
            " from flows where id = $1 and finished_at is null for update",
            $how
        )
    };
}

/// A flow whose row is locked.
#[derive(QueryableByName)]
pub(super) struct Flow {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: Uuid,
    #[diesel(sql_type = Text)]
    pub(super) kind: String,
    #[diesel(sql_type = Text)]
    pub(super) state: String,
    #[diesel(sql_type = Bool)]
    pub(super) sealed: bool,
    #[diesel(sql_type = Text)]
    pub(super) on_dead_step: String,
    #[diesel(sql_type = Nullable<Jsonb>)]
    when_over: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    when_dead: Option<Value>,
    #[diesel(sql_type = Bool)]
    told: bool,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    correlation_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    owner_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    subject_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub(super) cancel: Option<Value>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    for_job: Option<Uuid>,
}

#[derive(QueryableByName)]
struct Cancelled {
    #[diesel(sql_type = Jsonb)]
    cancel: Value,
}

impl Flow {
    /// Locks an open flow, waiting for whoever has it.
    pub(super) async fn lock(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Self>> {
        waybill_schema::sql(lock!("", "")).bind::<SqlUuid, _>(id).get_result(conn).await.optional()
    }

    /// Locks an open flow that nobody else has. For the rest of the transaction no statement waits longer than 500 ms for rows
    /// that others have, such as those of the flow's jobs: completions keep them for a few milliseconds, handlers' transactions
    /// for as long as a chunk of work takes.
    pub(super) async fn try_lock(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Self>> {
        waybill_schema::sql(lock!(", set_config('lock_timeout', '500', true)", " skip locked"))
            .bind::<SqlUuid, _>(id)
            .get_result(conn)
            .await
            .optional()
    }

    pub(super) fn common(&self) -> Common {
        Common {
            flow: self.id,
            correlation_id: self.correlation_id,
            owner_id: self.owner_id,
            subject_id: self.subject_id,
        }
    }

    /// Notes that it is cancelled, if it does the work of a job that is over.
    pub(super) async fn heed_job(&mut self, conn: &mut Conn) -> QueryResult<()> {
        let (None, Some(job)) = (&self.cancel, self.for_job) else { return Ok(()) };
        let cancelled: Option<Cancelled> = waybill_schema::sql(
            "update flows set cancel = $3 || jsonb_build_object('at', clock_timestamp())
             where id = $1 and not exists (select from jobs where id = $2)
               and not exists (select from dead_letters where id = $2)
             returning cancel",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<SqlUuid, _>(job)
        .bind::<Jsonb, _>(json!({ "by": "flow", "reason": "the job whose work it did is over" }))
        .get_result(conn)
        .await
        .optional()?;
        self.cancel = cancelled.map(|row| row.cancel);
        Ok(())
    }

    /// Enqueues the callback for the first dead job, once; answers with its queue.
    pub(super) async fn tell_dead(&mut self, conn: &mut Conn) -> QueryResult<Option<String>> {
        if self.told {
            return Ok(None);
        }
        self.told = true;
        waybill_schema::sql("update flows set dead_told_at = clock_timestamp() where id = $1")
            .bind::<SqlUuid, _>(self.id)
            .execute(conn)
            .await?;
        self.call(conn, self.when_dead.clone()).await
    }

    /// Ends the flow and enqueues its callback; answers with its queue.
    pub(super) async fn end(
        &self,
        conn: &mut Conn,
        state: &str,
        report: &Value,
    ) -> QueryResult<Option<String>> {
        waybill_schema::sql(
            "update flows set state = $2, report = $3, finished_at = clock_timestamp() where id = $1",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<Text, _>(state)
        .bind::<Jsonb, _>(report)
        .execute(conn)
        .await?;
        self.call(conn, self.when_over.clone()).await
    }

    async fn call(&self, conn: &Conn, planned: Option<Value>) -> QueryResult<Option<String>> {
        let Some(planned) = planned else { return Ok(None) };
        let row = read(planned)?.row(&self.common(), None);
        let queue = row.queue.clone();
        put(conn, &[row]).await?;
        Ok(Some(queue))
    }
}
