//! The inbox: what each pipeline has handled, and what else is known of events that are about to be handled.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::item::{Item, Lane, Place, partition_key};
use crate::emit::EventEnvelope;

/// What is known of a message before it is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub(crate) struct Known {
    /// The pipeline has handled it, or somebody has decided that it will not: a dead letter, or a job that was cancelled.
    #[diesel(sql_type = Bool)]
    pub over: bool,
    /// Jobs of its pipeline and aggregate are alive.
    #[diesel(sql_type = Bool)]
    pub behind: bool,
}

#[derive(QueryableByName)]
struct Fresh {
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
}

/// What is known of each of `items`, in their order.
///
/// `behind` must be read after the message was received: every job that it may have to wait for was committed before the
/// message was published, or by this consumer's predecessor before the broker gave the message to this one.
pub(crate) async fn known(conn: &mut Conn, pipeline: &str, items: &[Item]) -> QueryResult<Vec<Known>> {
    // Only a second copy of an event can find its job in the history without an inbox row, and second copies come after
    // an outage; the history has a partition per day, so fresh events are spared the search.
    //
    // Laterals with a limit are index probes in any plan. The same as joins, or as `exists`, are hash joins over the whole
    // inbox in a plan that was cached when the inbox was small.
    sql("select handled.one is not null or dead.one is not null or decided.one is not null as over,
                behind.one is not null as behind
         from unnest($2, $3, $4, $5) with ordinality as t(id, at, seq, key, place)
         left join lateral (select 1 as one from inbox i
                            where i.pipeline = $1 and i.event_id = t.id and i.event_at = t.at limit 1) handled on true
         left join lateral (select 1 as one from dead_letters d
                            where d.id = event_job_id($1, t.seq, t.id) limit 1) dead on true
         left join lateral (select 1 as one from job_history h
                            where t.at < now() - interval '1 minute'
                              and h.id = event_job_id($1, t.seq, t.id) limit 1) decided on true
         left join lateral (select 1 as one from jobs j where j.partition_key = t.key limit 1) behind on true
         order by place")
    .bind::<Text, _>(pipeline)
    .bind::<Array<SqlUuid>, _>(items.iter().map(|item| item.event.id).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(items.iter().map(|item| item.event.created_at).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(items.iter().map(seq).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(items.iter().map(|item| partition_key(pipeline, &item.event)).collect::<Vec<_>>())
    .load(conn)
    .await
}

fn seq(item: &Item) -> i64 {
    match item.place {
        Place::Message { seq } => seq,
        Place::Job(_) => 0,
    }
}

/// Which of the events the pipeline has handled.
pub(crate) async fn handled(
    conn: &mut Conn,
    pipeline: &str,
    events: &[EventEnvelope],
) -> QueryResult<HashSet<Uuid>> {
    let rows: Vec<Fresh> = sql("select i.event_id
         from unnest($2, $3) as t(id, at)
         cross join lateral (select i.event_id from inbox i
                             where i.pipeline = $1 and i.event_id = t.id and i.event_at = t.at limit 1) i")
    .bind::<Text, _>(pipeline)
    .bind::<Array<SqlUuid>, _>(ids(events))
    .bind::<Array<Timestamptz>, _>(times(events))
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.event_id).collect())
}

/// Writes the inbox rows in the transaction open on `conn`; answers with the events that had none. A row that another
/// transaction is writing is waited for.
pub(crate) async fn insert(
    conn: &mut Conn,
    pipeline: &str,
    lane: Lane,
    events: &[EventEnvelope],
) -> QueryResult<HashSet<Uuid>> {
    // In one order, so that two consumers with the same events wait for each other instead of deadlocking.
    let rows: Vec<Fresh> = sql("insert into inbox (pipeline, event_id, event_at, lane)
         select $1, id, at, $4 from unnest($2, $3) as t(id, at) order by id
         on conflict do nothing
         returning event_id")
    .bind::<Text, _>(pipeline)
    .bind::<Array<SqlUuid>, _>(ids(events))
    .bind::<Array<Timestamptz>, _>(times(events))
    .bind::<Text, _>(lane.as_str())
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.event_id).collect())
}

fn ids(events: &[EventEnvelope]) -> Vec<Uuid> {
    events.iter().map(|event| event.id).collect()
}

fn times(events: &[EventEnvelope]) -> Vec<DateTime<Utc>> {
    events.iter().map(|event| event.created_at).collect()
}
