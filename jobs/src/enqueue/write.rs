//! The statements that write jobs.

use std::collections::{HashMap, HashSet};

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

/// Writes those whose slot is free, and their slots; answers with their ids.
///
/// One statement, so that there is never a slot without its job. A slot whose window is over is taken away first. On a
/// conflict nothing is done, and nothing is locked: a completion that gives the slot up must not wait for the caller's
/// transaction. In order of the keys, so that two callers wait for each other instead of deadlocking.
pub(super) async fn write_unique(conn: &Conn, rows: &[&Row]) -> QueryResult<HashSet<Uuid>> {
    let statement = waybill_schema::sql(insert_jobs!(
        "with wanted as (
             select slot, id, scope, within, place
             from unnest($19, $1, $20, $21) with ordinality as w(slot, id, scope, within, place)
             where slot is not null),
         over as (
             delete from job_uniques u
             where u.ctid = any (array(
                 select e.ctid from job_uniques e join wanted w on w.slot = e.key
                 where e.scope = 'window' and e.until <= clock_timestamp()
                 order by e.key for update of e))
             returning u.key),
         taken as (
             insert into job_uniques (key, job_id, scope, until)
             select slot, id, scope, clock_timestamp() + within * interval '1 second'
             from wanted where (select count(*) from over) >= 0
             order by slot, place
             on conflict do nothing
             returning job_id)
         ",
        ", unique_key",
        ", slot",
        ", $19",
        ", slot",
        "
         where slot is null or id in (select job_id from taken)
         returning id"
    ));
    let inserted: Vec<Inserted> = bind_jobs!(statement, rows)
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.slot()).collect::<Vec<_>>())
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
    let inserted: HashSet<_> = inserted.into_iter().map(|row| row.id).collect();
    note(rows.iter().copied().filter(|row| inserted.contains(&row.id)));
    Ok(inserted)
}

#[derive(QueryableByName)]
struct Inserted {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = SqlUuid)]
    job_id: Uuid,
}

/// Which job has each of `slots` that is taken.
pub(super) async fn holders(conn: &Conn, slots: &[String]) -> QueryResult<HashMap<String, Uuid>> {
    let holders: Vec<Holder> = waybill_schema::sql("select key, job_id from job_uniques where key = any($1)")
        .bind::<Array<Text>, _>(slots)
        .load(&mut &*conn)
        .await?;
    Ok(holders.into_iter().map(|holder| (holder.key, holder.job_id)).collect())
}

/// The queues whose workers may be woken.
fn note<'a>(rows: impl Iterator<Item = &'a Row>) {
    rows.filter(|row| row.run_at.is_none()).for_each(|row| touched::note(&row.queue));
}
