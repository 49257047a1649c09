//! Metrics of the service, from the database, in one place: whichever replica is asked gives the same answer.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Double, Text},
};
use diesel_async::RunQueryDsl;
use waybill_jobs::{Job as _, events, events_lane, flows, kinds::CheckInvariants, queues};
use waybill_schema::{
    Conn, Pool, checks, partitions,
    sql::sql,
    system::{outages, workers},
};

use crate::{SchedulerError, board::Board};

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

/// Rows of a default partition that are counted: any is one too many.
const STRAYS: i64 = 1_000;

/// Reads and publishes the gauges. Counting the live jobs reads their whole table, which grows with what waits: this runs every
/// few seconds, not on each scrape.
pub async fn publish(pool: &Pool, stuck_after: Duration, board: &mut Board) -> Result<(), SchedulerError> {
    let shown = read(pool, stuck_after, board).await;
    match &shown {
        Ok(()) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            board.set("waybill_service_measured_timestamp_seconds", &[], now.as_secs_f64());
            board.done();
        }
        Err(_) => board.keep(),
    }
    shown
}

#[allow(clippy::cast_precision_loss)]
async fn read(pool: &Pool, stuck_after: Duration, board: &mut Board) -> Result<(), SchedulerError> {
    let mut conn = pool.get().await?;
    depths(&mut conn, board).await?;
    totals(&mut conn, stuck_after, board).await?;
    for dependency in outages::waiting(&mut conn).await? {
        let name = [("dependency", dependency.name.as_str())];
        board.set("waybill_outage", &name, f64::from(u8::from(dependency.down)));
        board.set("waybill_outage_jobs", &name, dependency.jobs as f64);
    }
    let pipelines: Vec<&str> = events::PIPELINES.iter().map(|spec| spec.name).collect();
    for lag in events_lane::lag(&mut conn, &pipelines).await? {
        let pipeline = [("pipeline", lag.pipeline.as_str())];
        board.set("waybill_pipeline_lag", &pipeline, (lag.at_broker + lag.as_jobs) as f64);
        board.set("waybill_pipeline_lag_seconds", &pipeline, lag.oldest_seconds);
    }
    if let Some(report) = checks::last_report(&mut conn, CheckInvariants::KIND).await? {
        for (check, broken) in report.invariants() {
            board.set("waybill_invariant_broken", &[("check", check)], f64::from(u8::from(broken)));
        }
        board.set("waybill_invariants_age_seconds", &[], report.age_seconds);
    }
    for table in partitions::health(&mut conn).await? {
        let name = [("table", table.parent.as_str())];
        board.set("waybill_partition_days_ahead", &name, f64::from(table.days_ahead));
    }
    let open = flows::open(&mut conn).await?;
    for kind in ["batch", "workflow"] {
        for state in ["running", "undoing"] {
            let count = open.iter().find(|row| row.0 == kind && row.1 == state).map_or(0, |row| row.2);
            board.set("waybill_flows", &[("kind", kind), ("state", state)], count as f64);
        }
    }
    board.set("waybill_flows_held", &[], flows::held(&mut conn).await? as f64);
    for (table, rows) in checks::default_partitions(&mut conn, STRAYS).await? {
        board.set("waybill_default_partition_rows", &[("table", &table)], rows as f64);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
async fn depths(conn: &mut Conn, board: &mut Board) -> Result<(), SchedulerError> {
    let depths: Vec<Depth> = sql(
        "select queue, state, count(*) as jobs,
                coalesce(extract(epoch from now() - min(run_at) filter (where state = 'queued')), 0)::float8 as oldest
         from jobs group by queue, state",
    )
    .load(conn)
    .await?;
    // Queues of the program have all their series from the start.
    for queue in queues::ALL {
        let empty = |state: &str| !depths.iter().any(|depth| depth.queue == *queue && depth.state == state);
        for state in ["queued", "scheduled", "running"].into_iter().filter(|state| empty(state)) {
            board.set("waybill_queue_jobs", &[("queue", queue), ("state", state)], 0.0);
        }
        if empty("queued") {
            board.set("waybill_queue_oldest_seconds", &[("queue", queue)], 0.0);
        }
    }
    for Depth { queue, state, jobs, oldest } in &depths {
        if state == "queued" {
            board.set("waybill_queue_oldest_seconds", &[("queue", queue)], oldest.max(0.0));
        }
        board.set("waybill_queue_jobs", &[("queue", queue), ("state", state)], *jobs as f64);
    }
    serving(conn, board, &depths).await
}

#[allow(clippy::cast_precision_loss)]
async fn totals(conn: &mut Conn, stuck_after: Duration, board: &mut Board) -> Result<(), SchedulerError> {
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
    .get_result(conn)
    .await?;
    board.set("waybill_dead_letters", &[], totals.dead as f64);
    board.set("waybill_service_outbox_pending", &[], totals.outbox as f64);
    board.set("waybill_service_outbox_oldest_seconds", &[], totals.outbox_oldest);
    board.set("waybill_workers", &[], totals.workers as f64);
    board.set("waybill_orders_pending", &[], totals.pending_orders as f64);
    board.set("waybill_orders_stuck", &[], totals.stuck_orders as f64);
    board.set("waybill_schedules_failed", &[], totals.resting_schedules as f64);
    Ok(())
}

/// Who serves each queue of the program, and each in which jobs wait: 0 where nobody does.
#[allow(clippy::cast_precision_loss)]
async fn serving(conn: &mut Conn, board: &mut Board, depths: &[Depth]) -> Result<(), SchedulerError> {
    let serving = workers::serving(conn).await?;
    let mut names: BTreeSet<String> = depths.iter().map(|depth| depth.queue.clone()).collect();
    names.extend(queues::ALL.iter().map(|queue| (*queue).to_owned()));
    names.extend(events::PIPELINES.iter().map(|spec| queues::pipeline_queue(spec.name)));
    for queue in names {
        let workers = serving.iter().find(|row| row.queue == queue).map_or(0, |row| row.workers);
        board.set("waybill_queue_workers", &[("queue", &queue)], workers as f64);
    }
    Ok(())
}
