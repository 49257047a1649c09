//! The statements that write jobs.

use std::collections::HashMap;

use diesel::sql_types::{Array, Bool, Double, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

use super::row::Row;
use crate::postgres::touched;

// unnest keeps the plan and the statement's text the same for any number of rows, so it is prepared once.
macro_rules! insert_jobs {
    ($with:expr, $more:expr, $of:expr, $binds:expr, $names:expr, $where:expr) => {
        concat!(
            $with,
            "insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key,
                           correlation_id, causation_id, owner_id, traceparent, payload, limit_key, flow_id, step, subject_id,
                           compensates",
            $more,
            ")
         select id, kind, version, queue, priority,
                case when run_at > now() then 'scheduled' else 'queued' end, coalesce(run_at, now()),
                max_attempts, partition_key, correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                flow_id, step, subject_id, compensates",
            $of,
            "
         from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18",
            $binds,
            ")
              as t(id, kind, version, queue, priority, run_at, max_attempts, partition_key,
                   correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                   flow_id, step, subject_id, compensates",
            $names,
            ")",
            $where
        )
    };
}

macro_rules! bind_jobs {
    ($statement:expr, $rows:ident) => {
        $statement
            .bind::<Array<SqlUuid>, _>($rows.iter().map(|r| r.id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>($rows.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.version).collect::<Vec<_>>())
            .bind::<Array<Text>, _>($rows.iter().map(|r| r.queue.as_str()).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.priority).collect::<Vec<_>>())
            .bind::<Array<Nullable<Timestamptz>>, _>($rows.iter().map(|r| r.run_at).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.max_attempts).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.partition_key.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.correlation_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.causation_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.owner_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.traceparent.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Jsonb>, _>($rows.iter().map(|r| &r.payload).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.limit_key.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.flow_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>($rows.iter().map(|r| r.step.as_deref()).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.subject_id).collect::<Vec<_>>())
            .bind::<Array<Bool>, _>($rows.iter().map(|r| r.compensates).collect::<Vec<_>>())
    };
}

/// Writes jobs that want no unique slot.
pub(super) async fn write(conn: &Conn, rows: &[Row]) -> QueryResult<()> {
    let Some((first, others)) = rows.split_first() else { return Ok(()) };
    if others.iter().all(|row| row.is_like(first)) {
        write_alike(conn, first, rows).await?;
    } else {
        write_any(conn, rows).await?;
    }
    note(rows.iter());
    Ok(())
}

async fn write_any(conn: &Conn, rows: &[Row]) -> QueryResult<()> {
    let statement = waybill_schema::sql(insert_jobs!("", "", "", "", "", ""));
    bind_jobs!(statement, rows).execute(&mut &*conn).await?;
    Ok(())
}

/// Writes jobs that differ in their ids and arguments alone, as one or those of a bulk mostly do: the rest is sent, read and
/// checked once.
async fn write_alike(conn: &Conn, first: &Row, rows: &[Row]) -> QueryResult<()> {
    waybill_schema::sql(
        "insert into jobs (id, payload, kind, version, queue, priority, state, run_at, max_attempts, partition_key,
             correlation_id, causation_id, owner_id, traceparent, limit_key, flow_id, step, subject_id, compensates)
         select id, payload, $3, $4, $5, $6, case when $7 > now() then 'scheduled' else 'queued' end, coalesce($7, now()),
             $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
         from unnest($1, $2) as t(id, payload)",
    )
    .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|row| &row.payload).collect::<Vec<_>>())
    .bind::<Text, _>(&first.kind)
    .bind::<SmallInt, _>(first.version)
    .bind::<Text, _>(&first.queue)
    .bind::<SmallInt, _>(first.priority)
    .bind::<Nullable<Timestamptz>, _>(first.run_at)
    .bind::<SmallInt, _>(first.max_attempts)
    .bind::<Nullable<Text>, _>(first.partition_key.as_deref())
    .bind::<Nullable<SqlUuid>, _>(first.correlation_id)
    .bind::<Nullable<SqlUuid>, _>(first.causation_id)
    .bind::<Nullable<SqlUuid>, _>(first.owner_id)
    .bind::<Nullable<Text>, _>(first.traceparent.as_deref())
    .bind::<Nullable<Text>, _>(first.limit_key.as_deref())
    .bind::<Nullable<SqlUuid>, _>(first.flow_id)
    .bind::<Nullable<Text>, _>(first.step.as_deref())
    .bind::<Nullable<SqlUuid>, _>(first.subject_id)
    .bind::<Bool, _>(first.compensates)
    .execute(&mut &*conn)
    .await?;
    Ok(())
}

/// Writes those whose slot is free, and their slots; answers with who has the slot of each job that wants one.
///
/// One statement, so that there is never a slot without its job.
pub(super) async fn write_unique(conn: &Conn, rows: &[Row]) -> QueryResult<HashMap<Uuid, Option<Uuid>>> {
    let statement = waybill_schema::sql(insert_jobs!(
        "with taken as materialized (select job, holder from waybill_take_slots($19, $1, $20, $21)),
         kept as (",
        ", unique_key",
        ", slot",
        ", $19",
        ", slot",
        "
             where slot is null or id in (select job from taken where job = holder))
         select job, holder from taken"
    ));
    let taken: Vec<Taken> = bind_jobs!(statement, rows)
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(Row::slot).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(
            rows.iter().map(|r| r.unique.as_ref().map(|unique| unique.scope.as_str())).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Double>>, _>(
            rows.iter()
                .map(|r| {
                    r.unique.as_ref().and_then(|unique| unique.within).map(|within| within.as_secs_f64())
                })
                .collect::<Vec<_>>(),
        )
        .load(&mut &*conn)
        .await?;
    let taken: HashMap<_, _> = taken.into_iter().map(|row| (row.job, row.holder)).collect();
    note(rows.iter().filter(|row| taken.get(&row.id).is_none_or(|holder| *holder == Some(row.id))));
    Ok(taken)
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = SqlUuid)]
    job: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    holder: Option<Uuid>,
}

/// The queues whose workers may be woken.
fn note<'a>(rows: impl Iterator<Item = &'a Row>) {
    rows.filter(|row| row.run_at.is_none()).for_each(|row| touched::note(&row.queue));
}
