//! Parking: a message becomes a job of its pipeline, or a dead letter.

use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::{
    item::{job_kind, partition_key},
    superfluous,
};
use crate::{
    contract::{Failure, Policy},
    emit::EventEnvelope,
    postgres::Entry,
    queues,
};

/// A message that becomes a job.
pub(crate) struct Parked {
    pub event: EventEnvelope,
    pub seq: i64,
    /// The attempt that failed; `None` for one that was not tried.
    pub failure: Option<Failure>,
    /// Not tried because it waits behind others.
    pub behind: bool,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Turns messages into jobs, one statement for all; answers with how many were none yet.
///
/// A failed one has used its first attempt and waits for its backoff. A permanent failure is a dead letter at once.
pub(crate) async fn park(
    conn: &mut Conn,
    pipeline: &str,
    policy: &Policy,
    parked: &[Parked],
) -> QueryResult<usize> {
    conn.transaction(async |conn: &mut Conn| {
        let made: Vec<Uuid> =
            make(conn, pipeline, policy, parked).await?.into_iter().map(|row| row.id).collect();
        Ok(made.len() - superfluous::remove(conn, &made).await?)
    })
    .await
}

async fn make(conn: &mut Conn, pipeline: &str, policy: &Policy, parked: &[Parked]) -> QueryResult<Vec<Id>> {
    let mut delays = Vec::with_capacity(parked.len());
    let mut failures = Vec::with_capacity(parked.len());
    let mut dead = Vec::with_capacity(parked.len());
    for item in parked {
        delays.push(item.failure.as_ref().map(|_| policy.delay(1, rand::random()).as_secs_f64()));
        failures.push(item.failure.as_ref().map_or_else(|| json!([]), |failure| json!([entry(failure)])));
        dead.push(
            item.failure
                .as_ref()
                .filter(|failure| !failure.retryable || policy.max_attempts <= 1)
                .map(|failure| Entry::new("failed", failure.message.clone()).error),
        );
    }
    sql("with t as (
             select event_job_id($1, seq, id) as id, key, delay, failures, dead, correlation_id, causation_id, traceparent,
                    payload
             from unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                  as t(id, at, seq, key, delay, failures, dead, correlation_id, causation_id, traceparent, payload)
             where not exists (select from inbox i
                               where i.pipeline = $1 and i.event_id = t.id and i.event_at = t.at)),
         buried as (
             insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
                 partition_key, correlation_id, causation_id, traceparent, payload, failures, created_at, reason)
             select id, $13, 1, $14, 0, 1, $15, 0, 0, now(), key, correlation_id, causation_id, traceparent, payload,
                 failures, now(), dead
             from t where dead is not null
             on conflict do nothing
             returning id),
         queued as (
             insert into jobs (id, kind, version, queue, state, run_at, attempt, max_attempts, partition_key,
                 correlation_id, causation_id, traceparent, payload, failures)
             select id, $13, 1, $14, case when delay is null then 'queued' else 'scheduled' end,
                 now() + coalesce(delay, 0) * interval '1 second', case when delay is null then 0 else 1 end, $15, key,
                 correlation_id, causation_id, traceparent, payload, failures
             from t where dead is null
             on conflict do nothing
             returning id)
         select id from buried union all select id from queued")
    .bind::<Text, _>(pipeline)
    .bind::<Array<SqlUuid>, _>(parked.iter().map(|p| p.event.id).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(parked.iter().map(|p| p.event.created_at).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(parked.iter().map(|p| p.seq).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(parked.iter().map(|p| partition_key(pipeline, &p.event)).collect::<Vec<_>>())
    .bind::<Array<Nullable<diesel::sql_types::Double>>, _>(delays)
    .bind::<Array<Jsonb>, _>(failures)
    .bind::<Array<Nullable<Text>>, _>(dead)
    .bind::<Array<Nullable<SqlUuid>>, _>(parked.iter().map(|p| p.event.correlation_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(parked.iter().map(|p| p.event.id).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(
        parked.iter().map(|p| p.event.traceparent.as_deref()).collect::<Vec<_>>(),
    )
    .bind::<Array<Jsonb>, _>(parked.iter().map(|p| json!(p.event)).collect::<Vec<_>>())
    .bind::<Text, _>(job_kind(pipeline))
    .bind::<Text, _>(queues::pipeline_queue(pipeline))
    .bind::<SmallInt, _>(policy.max_attempts)
    .load(conn)
    .await
}

/// Keeps messages that cannot be read as dead letters, with their raw text; one that comes again is kept once.
pub(crate) async fn bury_unreadable(
    conn: &mut Conn,
    pipeline: &str,
    policy: &Policy,
    messages: &[(Vec<u8>, String)],
) -> QueryResult<usize> {
    let texts: Vec<String> = messages.iter().map(|(body, _)| text(body)).collect();
    let reasons: Vec<String> = messages
        .iter()
        .map(|(_, error)| Entry::new("failed", format!("the message cannot be read: {error}")).error)
        .collect();
    sql("insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
             payload, failures, created_at, reason)
         select substr(encode(sha256(convert_to($1 || ' ' || text, 'UTF8')), 'hex'), 1, 32)::uuid, $1, 1, $2, 0, 1, $3, 0,
             0, now(), jsonb_build_object('raw', text), '[]', now(), reason
         from unnest($4, $5) as t(text, reason)
         on conflict do nothing")
    .bind::<Text, _>(job_kind(pipeline))
    .bind::<Text, _>(queues::pipeline_queue(pipeline))
    .bind::<SmallInt, _>(policy.max_attempts)
    .bind::<Array<Text>, _>(texts)
    .bind::<Array<Text>, _>(reasons)
    .execute(conn)
    .await
}

/// As text that Postgres takes.
fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', "\u{fffd}")
}

fn entry(failure: &Failure) -> Value {
    let entry = Entry::new("failed", failure.message.clone());
    json!({ "attempt": 1, "outcome": entry.outcome, "error": entry.error, "finished_at": chrono::Utc::now() })
}
