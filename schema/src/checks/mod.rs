//! Invariants, asked of the database itself: what must hold at any moment, and what must be empty when all is quiet.

use std::time::Duration;

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Double, Jsonb, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql::sql};

/// One invariant and what was found.
#[derive(Debug, Clone, QueryableByName)]
pub struct Check {
    /// Stable name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Rows that break it, or that are left to do.
    #[diesel(sql_type = BigInt)]
    pub found: i64,
    /// Whether it must hold at any moment; the others are zero once all work is done.
    #[diesel(sql_type = Bool)]
    pub always: bool,
    /// What it says.
    #[diesel(sql_type = Text)]
    pub detail: String,
}

/// How long after its deadline a pending order counts as stuck, when nobody says.
pub const STUCK_AFTER: Duration = Duration::from_mins(5);

const CHECKS: &str = "
select 'stock_ledger_sums' as name, count(*) as found, true as always,
       'levels whose ledger does not sum to on hand and reserved' as detail
from stock_levels l
left join (select variant_id, location_id, sum(on_hand_delta) as on_hand, sum(reserved_delta) as reserved
           from stock_ledger group by 1, 2) s using (variant_id, location_id)
where l.on_hand <> coalesce(s.on_hand, 0) or l.reserved <> coalesce(s.reserved, 0)
union all
select 'stock_oversold', count(*), true, 'levels with more reserved or sold than there is'
from stock_levels where not backorder and (on_hand < 0 or reserved > on_hand)
union all
select 'order_totals', count(*), true, 'orders whose lines do not sum to their subtotal'
from orders o join (select order_id, sum(total) as total from order_lines group by 1) l on l.order_id = o.id
where l.total <> o.subtotal
union all
select 'confirmed_without_money', count(*), true, 'confirmed orders whose captured money is not their total'
from orders o where o.status in ('confirmed', 'processing', 'shipped', 'delivered')
  and o.total <> coalesce((select sum(p.captured - p.refunded) from payments p where p.order_id = o.id), 0)
union all
select 'cancelled_with_money', count(*), true, 'cancelled orders that still hold money'
from orders o where o.status = 'cancelled'
  and exists (select 1 from payments p where p.order_id = o.id and p.captured > p.refunded)
union all
select 'cancelled_with_stock', count(*), true, 'cancelled orders that still hold stock'
from orders o where o.status = 'cancelled'
  and (select coalesce(sum(reserved_delta), 0) from stock_ledger s
       where s.order_id = o.id and s.kind in ('reservation', 'sale', 'release')) <> 0
union all
select 'confirmed_without_stock', count(*), true, 'confirmed orders whose sold pieces are not their lines'
from orders o where o.status in ('confirmed', 'processing', 'shipped', 'delivered')
  and (select coalesce(-sum(on_hand_delta), 0) from stock_ledger s where s.order_id = o.id and s.kind = 'sale')
      <> (select sum(quantity) from order_lines l where l.order_id = o.id)
union all
select 'handled_twice', count(*), true, 'order confirmations mailed more than once'
from (select 1 from mails where template = 'order_confirmed' group by correlation_id having count(*) > 1) t
union all
select 'running_unclaimed', count(*), true, 'running jobs that no claim names, so that nobody would take them over'
from jobs j where j.state = 'running'
  and not exists (select from job_claims c where c.id = j.claim_batch and j.id = any (c.ids))
union all
select 'partitions_missing', count(*), true, 'tables cut by day without a partition for tomorrow'
from waybill_partition_health() where days_ahead < 1
union all
select 'partitions_default', count(*), true, 'tables cut by day whose default partition holds rows of days that have none'
from waybill_partition_health() where strays
union all
select 'orders_pending', count(*), false, 'orders whose checkout is under way' from orders where status = 'pending'
union all
select 'orders_stuck', count(*), false, 'orders pending long after their deadline'
from orders where status = 'pending' and coalesce(reserved_until, placed_at) < now() - make_interval(secs => $1)
union all
select 'jobs_live', count(*), false, 'jobs waiting or running' from jobs
union all
select 'dead_letters', count(*), false, 'jobs that somebody must look at' from dead_letters
union all
select 'flows_held', count(*), false, 'batches and workflows that stand still until somebody decides about a dead letter'
from flows f where f.finished_at is null and exists (
    select 1 from dead_letters d where d.flow_id = f.id
      and (d.undo or f.state = 'running' and f.on_dead_step = 'wait'
           or exists (select 1 from flow_steps s where s.flow_id = f.id and s.undo_job_id = d.id)))
union all
select 'outbox_pending', count(*), false, 'events not handed on yet' from outbox
union all
select 'effects_open', count(*), false, 'calls to the outside whose end is not known' from effects where state = 'started'
union all
select 'confirmed_without_mail', count(*), false, 'orders confirmed within a week whose confirmation was not sent'
from orders o where o.confirmed_at > now() - interval '7 days' and not exists (
    select 1 from mails m where m.correlation_id = o.id and m.template = 'order_confirmed' and m.status = 'sent')";

/// Runs every check in one statement, so that all see the same moment. `stuck_after`: see [`STUCK_AFTER`].
pub async fn run(conn: &mut Conn, stuck_after: Duration) -> QueryResult<Vec<Check>> {
    sql(CHECKS).bind::<Double, _>(stuck_after.as_secs_f64()).load(conn).await
}

/// What the newest job of the hourly checks has found, from its result.
#[derive(Debug, Clone, QueryableByName)]
pub struct LastReport {
    #[diesel(sql_type = Jsonb)]
    result: Value,
    /// How long ago it was made.
    #[diesel(sql_type = Double)]
    pub age_seconds: f64,
}

impl LastReport {
    /// Each invariant, and whether it was broken.
    pub fn invariants(&self) -> impl Iterator<Item = (&str, bool)> {
        let names = |part: &str, broken| {
            let names = self.result[part].as_array().into_iter().flatten();
            names.filter_map(Value::as_str).map(move |name| (name, broken))
        };
        names("holds", false).chain(names("broken", true))
    }
}

/// The newest report of a kind of jobs, if there is one. Found by the fires of its schedules, as the history has no index by
/// kind: one that nobody's schedule fired, but a person over the API, is not found.
pub async fn last_report(conn: &mut Conn, kind: &str) -> QueryResult<Option<LastReport>> {
    sql("select h.result, greatest(0, extract(epoch from clock_timestamp() - h.finished_at))::float8 as age_seconds
         from schedules s
         cross join lateral (select job_id from schedule_fires
                             where schedule = s.name and job_id is not null order by fire_at desc limit 5) f
         join job_history h on h.id = f.job_id
         where s.kind = $1 and h.state = 'done' and h.result is not null
         order by h.finished_at desc limit 1")
    .bind::<Text, _>(kind)
    .get_result(conn)
    .await
    .optional()
}

#[derive(QueryableByName)]
struct Strays {
    #[diesel(sql_type = Text)]
    parent: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Rows in the default partition of each table that is kept by days, counted up to `limit`: rows of a day for which nobody made
/// a partition yet, and those that came too late for a day whose partition is shed.
pub async fn default_partitions(conn: &mut Conn, limit: i64) -> QueryResult<Vec<(String, i64)>> {
    let rows: Vec<Strays> = sql(
        "select 'job_history' as parent, (select count(*) from (select from job_history_default limit $1) t) as rows
         union all select 'job_logs', (select count(*) from (select from job_logs_default limit $1) t)
         union all select 'event_log', (select count(*) from (select from event_log_default limit $1) t)
         union all select 'inbox', (select count(*) from (select from inbox_default limit $1) t)",
    )
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.parent, row.rows)).collect())
}

/// A pending order that stands still.
#[derive(Debug, Clone, QueryableByName)]
pub struct StuckOrder {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The number people know.
    #[diesel(sql_type = BigInt)]
    pub number: i64,
    /// Where its saga stands.
    #[diesel(sql_type = Text)]
    pub step: String,
    /// Seconds past its deadline.
    #[diesel(sql_type = Double)]
    pub late_seconds: f64,
}

/// The orders that are stuck, the oldest first.
pub async fn stuck_orders(
    conn: &mut Conn,
    stuck_after: Duration,
    limit: i64,
) -> QueryResult<Vec<StuckOrder>> {
    sql("select id, number, step, extract(epoch from now() - coalesce(reserved_until, placed_at))::float8 as late_seconds
         from orders
         where status = 'pending' and coalesce(reserved_until, placed_at) < now() - make_interval(secs => $1)
         order by id limit $2")
    .bind::<Double, _>(stuck_after.as_secs_f64())
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
