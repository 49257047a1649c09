//! The waybill of an order: everything it caused, in order of time.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql::sql};

/// One thing that happened.
#[derive(Debug, Clone, QueryableByName)]
pub struct Entry {
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub at: DateTime<Utc>,
    /// order, job, attempt, event, pipeline, payment, gateway, stock, mail, webhook.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// What of that source: the job's kind, the event's topic, the effect's kind, ...
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// The id of the thing, as text.
    #[diesel(sql_type = Nullable<Text>)]
    pub id: Option<String>,
    /// How it stood or ended.
    #[diesel(sql_type = Nullable<Text>)]
    pub status: Option<String>,
    /// More, by source.
    #[diesel(sql_type = Jsonb)]
    pub detail: Value,
}

/// Entries returned at most: an order with more has a problem that its first thousand entries show.
pub const LIMIT: i64 = 1_000;

const TRAIL: &str = r"
with all_jobs as (
    select id, kind, state, attempt, snoozes, worker_id, claimed_at, run_at, failures, created_at,
           null::timestamptz as ended_at, null::text as reason, progress as outcome
    from jobs where correlation_id = $1
    union all
    select id, kind, state, attempt, snoozes, worker_id, claimed_at, run_at, failures, created_at,
           finished_at, reason, result
    from job_history where correlation_id = $1
    union all
    select id, kind, 'dead', attempt, snoozes, worker_id, claimed_at, run_at, failures, created_at, died_at, reason, null
    from dead_letters where correlation_id = $1
),
all_events as (
    select id, topic, version, aggregate, payload, created_at, null::timestamptz as published_at, null::text as lane
    from outbox where correlation_id = $1
    union all
    select id, topic, version, aggregate, payload, created_at, published_at, lane
    from event_log where correlation_id = $1
)
select at, source, kind, id, status, coalesce(detail, '{}'::jsonb) as detail from (
    select at, 1 as rank, version as place, 'order' as source, step as kind, order_id::text as id, status,
           jsonb_strip_nulls(jsonb_build_object('version', version, 'reason_code', reason_code, 'reason', reason,
               'actor', actor, 'job_id', job_id, 'attempt', attempt)) as detail
    from order_history where order_id = $1
  union all
    select created_at, 2, 0, 'job', kind, id::text, 'enqueued', '{}'::jsonb from all_jobs
  union all
    select (f.entry ->> 'finished_at')::timestamptz, 5, 0, 'attempt', j.kind, j.id::text, f.entry ->> 'outcome', f.entry
    from all_jobs j cross join lateral jsonb_array_elements(j.failures) as f(entry)
    where f.entry ->> 'finished_at' is not null
  union all
    select coalesce(ended_at, claimed_at, run_at), 6, 0, 'job', kind, id::text, state,
           jsonb_strip_nulls(jsonb_build_object('attempt', attempt, 'snoozes', snoozes, 'worker_id', worker_id,
               'started_at', claimed_at, 'run_at', run_at, 'reason', reason, 'result', outcome))
    from all_jobs where ended_at is not null or claimed_at is not null
  union all
    select created_at, 3, 0, 'event', topic, id::text, 'written',
           jsonb_build_object('version', version, 'aggregate', aggregate)
    from all_events
  union all
    select published_at, 4, 0, 'event', topic, id::text, 'published', jsonb_build_object('lane', lane)
    from all_events where published_at is not null
  union all
    select i.handled_at, 5, 0, 'pipeline', i.pipeline, e.id::text, 'handled',
           jsonb_build_object('topic', e.topic, 'lane', i.lane)
    from all_events e join inbox i on i.event_id = e.id
  union all
    select coalesce((c.entry ->> 'at')::timestamptz, f.started_at), 3, 0, 'payment', f.kind, f.key,
           coalesce(c.entry ->> 'outcome', f.state),
           c.entry || jsonb_build_object('provider', f.provider, 'effect', f.state)
    from effects f cross join lateral jsonb_array_elements(f.calls) as c(entry)
    where f.correlation_id = $1
  union all
    select finished_at, 4, 0, 'payment', kind, key, state, jsonb_build_object('provider', provider)
    from effects where correlation_id = $1 and finished_at is not null
  union all
    select received_at, 4, 0, 'gateway', kind, event_id, coalesce(outcome, 'received'),
           jsonb_strip_nulls(jsonb_build_object('gateway', gateway, 'handled_at', handled_at))
    from gateway_events where correlation_id = $1
  union all
    select created_at, 2, 0, 'stock', kind, null, null,
           jsonb_build_object('lines', count(*), 'pieces', sum(abs(case when on_hand_delta <> 0 then on_hand_delta
                                                                        else reserved_delta end)))
    -- The kinds that the ledger's index by order holds.
    from stock_ledger where order_id = $1 and kind in ('reservation', 'sale', 'release') group by kind, created_at
  union all
    select created_at, 4, 0, 'mail', template, id::text, 'queued', '{}'::jsonb
    from mails where correlation_id = $1
  union all
    select sent_at, 5, 0, 'mail', template, id::text, status,
           jsonb_strip_nulls(jsonb_build_object('message_id', message_id, 'error', error))
    from mails where correlation_id = $1 and sent_at is not null
  union all
    select created_at, 4, 0, 'webhook', topic, id::text, 'queued', jsonb_build_object('endpoint_id', endpoint_id)
    from webhook_deliveries where correlation_id = $1
  union all
    select a.at, 5, 0, 'webhook', d.topic, d.id::text,
           case when a.status between 200 and 299 then 'delivered' else 'refused' end,
           jsonb_strip_nulls(jsonb_build_object('endpoint_id', d.endpoint_id, 'attempt', a.attempt,
               'answer', a.status, 'ms', a.duration_ms, 'error', a.error))
    from webhook_deliveries d join webhook_attempts a on a.delivery_id = d.id where d.correlation_id = $1
) t
where at is not null
order by at, rank, place
limit $2";

/// The trail of an order, or of whatever else jobs and events name as their correlation.
pub async fn of(conn: &mut Conn, correlation_id: Uuid) -> QueryResult<Vec<Entry>> {
    sql(TRAIL).bind::<SqlUuid, _>(correlation_id).bind::<diesel::sql_types::BigInt, _>(LIMIT).load(conn).await
}
