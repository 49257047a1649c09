//! Metrics of the service, from the database, in one place: whichever replica is asked gives the same answer.

use std::time::Duration;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Double, Text},
};
use diesel_async::RunQueryDsl;
use metrics::gauge;
use waybill_jobs::{events, events_lane, flows};
use waybill_schema::{Pool, partitions, sql::sql, system::outages};

use crate::SchedulerError;

#[derive(QueryableByName)]
struct Depth {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
    #[diesel(sql_type = Double)]
    oldest: f64,
}

#[derive(QueryableByName)]
struct Totals {
    #[diesel(sql_type = BigInt)]
    dead: i64,
    #[diesel(sql_type = BigInt)]
    outbox: i64,
    #[diesel(sql_type = Double)]
    outbox_oldest: f64,
    #[diesel(sql_type = BigInt)]
    workers: i64,
    #[diesel(sql_type = BigInt)]
    pending_orders: i64,
    #[diesel(sql_type = BigInt)]
    stuck_orders: i64,
    #[diesel(sql_type = BigInt)]
    resting_schedules: i64,
}

/// Reads and publishes the gauges. Counting the live jobs reads one index; with a million waiting it takes about 100 ms,
/// so this runs every few seconds, not on each scrape.
#[allow(clippy::cast_precision_loss)]
pub async fn publish(pool: &Pool, stuck_after: Duration) -> Result<(), SchedulerError> {
    let mut conn = pool.get().await?;
    let depths: Vec<Depth> = sql(
        "select queue, state, count(*) as jobs,
                coalesce(extract(epoch from now() - min(run_at) filter (where state = 'queued')), 0)::float8 as oldest
         from jobs group by queue, state",
    )
    .load(&mut conn)
    .await?;
    let totals: Totals = sql(
        "select (select count(*) from dead_letters) as dead,
                (select count(*) from outbox) as outbox,
                coalesce((select extract(epoch from now() - min(created_at)) from outbox), 0)::float8 as outbox_oldest,
                (select count(*) from workers where lease_until > now()) as workers,
                (select count(*) from orders where status = 'pending') as pending_orders,
                (select count(*) from orders
                 where status = 'pending'
                   and coalesce(reserved_until, placed_at) < now() - make_interval(secs => $1)) as stuck_orders,
                (select count(*) from schedules where problem is not null) as resting_schedules",
    )
    .bind::<Double, _>(stuck_after.as_secs_f64())
    .get_result(&mut conn)
    .await?;
    for queue in waybill_jobs::queues::ALL {
        for state in ["queued", "scheduled", "running"] {
            if !depths.iter().any(|d| d.queue == *queue && d.state == state) {
                gauge!("waybill_queue_jobs", "queue" => *queue, "state" => state).set(0.0);
            }
        }
        if !depths.iter().any(|d| d.queue == *queue && d.state == "queued") {
            gauge!("waybill_queue_oldest_seconds", "queue" => *queue).set(0.0);
        }
    }
    for depth in depths {
        if depth.state == "queued" {
            gauge!("waybill_queue_oldest_seconds", "queue" => depth.queue.clone()).set(depth.oldest.max(0.0));
        }
        gauge!("waybill_queue_jobs", "queue" => depth.queue, "state" => depth.state).set(depth.jobs as f64);
    }
    gauge!("waybill_dead_letters").set(totals.dead as f64);
    gauge!("waybill_service_outbox_pending").set(totals.outbox as f64);
    gauge!("waybill_service_outbox_oldest_seconds").set(totals.outbox_oldest);
    gauge!("waybill_workers").set(totals.workers as f64);
    gauge!("waybill_orders_pending").set(totals.pending_orders as f64);
    gauge!("waybill_orders_stuck").set(totals.stuck_orders as f64);
    gauge!("waybill_schedules_failed").set(totals.resting_schedules as f64);
    for table in partitions::health(&mut conn).await? {
        gauge!("waybill_partition_days_ahead", "table" => table.parent.clone())
            .set(f64::from(table.days_ahead));
        gauge!("waybill_partition_default_filled", "table" => table.parent)
            .set(f64::from(u8::from(table.strays)));
    }
    let open = flows::open(&mut conn).await?;
    for kind in ["batch", "workflow"] {
        for state in ["running", "undoing"] {
            let count = open.iter().find(|row| row.0 == kind && row.1 == state).map_or(0, |row| row.2);
            gauge!("waybill_flows", "kind" => kind, "state" => state).set(count as f64);
        }
    }
    gauge!("waybill_flows_held").set(flows::held(&mut conn).await? as f64);
    let pipelines: Vec<&str> = events::PIPELINES.iter().map(|spec| spec.name).collect();
    for dependency in outages::waiting(&mut conn).await? {
        gauge!("waybill_outage", "dependency" => dependency.name.clone())
            .set(f64::from(u8::from(dependency.down)));
        gauge!("waybill_outage_jobs", "dependency" => dependency.name).set(dependency.jobs as f64);
    }
    for lag in events_lane::lag(&mut conn, &pipelines).await? {
        gauge!("waybill_pipeline_lag", "pipeline" => lag.pipeline.clone())
            .set((lag.at_broker + lag.as_jobs) as f64);
        gauge!("waybill_pipeline_lag_seconds", "pipeline" => lag.pipeline).set(lag.oldest_seconds);
    }
    Ok(())
}
