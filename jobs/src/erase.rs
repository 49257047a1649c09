//! Erasing what the job platform knows of a person.

use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde::Serialize;
use uuid::Uuid;
use waybill_schema::Conn;

use crate::{
    cancel::{Cancellations, Filter, cancel_where},
    flows,
};

/// Attempts keep when and how they ended, not what they said.
macro_rules! failures {
    () => {
        "(select coalesce(jsonb_agg(f - 'error' order by n), '[]') from jsonb_array_elements(failures) with ordinality e(f, n))"
    };
}

#[derive(QueryableByName)]
struct Flow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// What becomes of the person's jobs that are not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// They end as they would; erase again when they have.
    Leave,
    /// They are cancelled.
    Cancel,
}

/// What was emptied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, QueryableByName)]
pub struct Counts {
    /// Finished jobs.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
    /// Dead letters.
    #[diesel(sql_type = BigInt)]
    pub dead_letters: i64,
    /// Lines of logs.
    #[diesel(sql_type = BigInt)]
    pub log_lines: i64,
    /// Flows whose plan and steps were emptied.
    #[diesel(sql_type = BigInt)]
    pub flows: i64,
    /// Published events that held the buyer's own reference.
    #[diesel(sql_type = BigInt)]
    pub events: i64,
    /// Bodies of webhook deliveries that are over; the receivers' answers go with them.
    #[diesel(sql_type = BigInt)]
    pub deliveries: i64,
    /// Mails.
    #[diesel(sql_type = BigInt)]
    pub mails: i64,
    /// Jobs, flows and events that are not over yet, at the broker too, and so were left as they are: erase again when this was
    /// not 0.
    #[diesel(sql_type = BigInt)]
    pub live: i64,
}

/// Empties, in the transaction open on `conn`, what jobs keep about a person: arguments, progress, results, errors, reasons and
/// log lines of finished jobs and dead letters with that `subject_id`: a customer's id, or for a guest the id of their order. The rows stay, marked, so that counts
/// and trails hold. A dead letter that was emptied is not retried.
///
/// The person's mails (to the address the account has now, or about the person's orders) keep that they were sent, not to
/// whom; the jobs that sent them are emptied too, since a mail server's answer may name the address, and so are the jobs by which events
/// about the orders came to pipelines. Published events carry
/// ids and amounts, and one thing that the buyer wrote: the order's reference, which is taken out of them, while the
/// bodies of webhook deliveries that are over, signed as they are, go as a whole. The inbox holds ids only. Accounts, orders and
/// payments are not this function's: what the law wants kept is kept by whoever calls it.
pub async fn erase(conn: &mut Conn, subject_id: Uuid, live: Live) -> QueryResult<Counts> {
    if live == Live::Cancel {
        // Flows as such, or what follows in them would be enqueued after the person is gone.
        let open: Vec<Flow> =
            waybill_schema::sql("select id from flows where subject_id = $1 and finished_at is null")
                .bind::<SqlUuid, _>(subject_id)
                .load(conn)
                .await?;
        for flow in open {
            flows::cancel(conn, flow.id, "erasure", "the person was erased").await?;
        }
        let filter = Filter { subject_id: Some(subject_id), ..Filter::default() };
        loop {
            let cancelled = cancel_where(conn, &filter, 1_000, "erasure", "the person was erased").await?;
            if cancelled == Cancellations::default() {
                break;
            }
        }
    }
    waybill_schema::sql(concat!(
        "with bought as materialized (
             select id from orders where customer_id = $1 or id = $1 and customer_id is null),
         done as (
             update job_history set payload = '{\"erased\": true}', progress = null, result = null, failures = ",
        failures!(),
        ",
                 reason = case when reason is not null then 'erased' end, cancel = cancel - 'reason', unique_key = null,
                 erased_at = clock_timestamp()
             where erased_at is null and id = any (array(
                 select id from job_history where subject_id = $1
                 union all
                 select h.id from job_history h join bought on h.correlation_id = bought.id
                 where h.kind = 'mail.send' or h.queue like 'events.%'))
             returning id),
         dead as (
             update dead_letters set payload = '{\"erased\": true}', progress = null, failures = ",
        failures!(),
        ",
                 reason = 'erased', cancel = cancel - 'reason', unique_key = null, erased_at = clock_timestamp()
             where erased_at is null and id = any (array(
                 select id from dead_letters where subject_id = $1
                 union all
                 select d.id from dead_letters d join bought on d.correlation_id = bought.id
                 where d.kind = 'mail.send' or d.queue like 'events.%'))
             returning id),
         lines as (
             delete from job_logs where job_id in (
                 select id from done union all select id from dead
                 union all select id from job_history where subject_id = $1
                 union all select id from dead_letters where subject_id = $1) returning 1),
         flow as (
             update flows set when_over = null, when_dead = null, name = 'erased'
             where subject_id = $1 and finished_at is not null and name <> 'erased' returning id),
         step as (
             update flow_steps set job = '{\"erased\": true}', undo = null, result = null
             where flow_id in (select id from flow) returning 1),
         event as (
             update event_log set payload = payload - 'reference'
             where correlation_id in (select id from bought) and payload ->> 'reference' is not null returning 1),
         body as (
             update webhook_deliveries set body = ''
             where correlation_id in (select id from bought) and status <> 'queued' and body <> '' returning 1),
         answer as (
             update webhook_attempts set body = null, error = null
             where (body is not null or error is not null) and delivery_id = any (array(
                 select d.id from webhook_deliveries d join bought on d.correlation_id = bought.id
                 where d.status <> 'queued'
                 union all
                 select (h.payload ->> 'delivery_id')::uuid from job_history h
                 where h.subject_id = $1 and h.kind = 'webhook.deliver' and h.payload ? 'delivery_id'))
             returning 1),
         -- Published and not handled, nor given up: its message still says what this took out of the log.
         flying as (
             select e.id
             from event_log e join bought on e.correlation_id = bought.id
             cross join lateral unnest(e.pipelines) as p(name)
             where e.lane = 'amqp'
               and not exists (select from inbox i
                               where i.pipeline = p.name and i.event_id = e.id and i.event_at = e.created_at)
               and not exists (select from jobs j where j.id = event_job_id(p.name, e.seq, e.id))
               and not exists (select from dead_letters d where d.id = event_job_id(p.name, e.seq, e.id))
               and not exists (select from job_history h where h.id = event_job_id(p.name, e.seq, e.id))),
         mail as (
             update mails set recipient = 'erased', subject = null, error = null
             where status <> 'queued' and recipient <> 'erased' and id = any (array(
                 select m.id from mails m where lower(m.recipient) = (select lower(email) from users where id = $1)
                 union all
                 select m.id from mails m where m.correlation_id = $1
                 union all
                 select m.id from mails m join bought on m.correlation_id = bought.id))
             returning 1)
         select (select count(*) from done) as jobs, (select count(*) from dead) as dead_letters,
                (select count(*) from lines) as log_lines,
                (select count(*) from flow) + 0 * (select count(*) from step) as flows,
                (select count(*) from event) as events, (select count(*) from body) as deliveries, (select count(*) from mail) as mails,
                (select count(*) from jobs where subject_id = $1)
                    + (select count(*) from jobs j join bought on j.correlation_id = bought.id
                       where j.queue like 'events.%' and j.subject_id is distinct from $1)
                    + (select count(*) from outbox o join bought on o.correlation_id = bought.id)
                    + (select count(*) from flying)
                    + (select count(*) from flows where subject_id = $1 and finished_at is null) as live"
    ))
    .bind::<SqlUuid, _>(subject_id)
    .get_result(conn)
    .await
}
