//! Putting a worker process together.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use diesel::{
    OptionalExtension as _, QueryableByName,
    sql_types::{Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl as _;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;
use waybill_jobs::{
    Pipeline, Registry,
    events_lane::{Events, EventsConfig, PipelineSpec},
    queues,
    runtime::{Worker, WorkerConfig},
};
use waybill_platform::{Config, ops, service};
use waybill_schema::{Pool, db, partitions};
use waybill_workers::{Services, pipelines, registry};

/// Runs until `shutdown`.
pub async fn run(
    config: Config,
    only: Option<&[String]>,
    name: String,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Whoever takes over the jobs of a worker that hangs must not wait for the rows it has locked.
    let database_url = db::with_idle_limit(config.database.url.expose_secret(), config.worker.lease * 2 / 3);
    let pool = db::connect(
        &db::with_statement_timeout(&database_url, config.database.statement_timeout),
        config.database.pool_max,
        config.database.connect_timeout,
    )
    .await?;
    let services = Services::new(config, pool.clone())?;
    // Before the first job ends: nobody may have made any for a long time.
    make_partitions(&pool).await;
    let config = &services.config;
    let registry = registry(&services)?;
    let all = pipelines(&services);
    let served = served(&all, &config.worker.pipelines)?;
    let queues = queues_of(&registry, config, only)?;

    let worker = Worker::new(
        database_url.as_str(),
        pool.clone(),
        registry,
        WorkerConfig {
            service: name,
            queues,
            other_queues: served.iter().map(|p| queues::pipeline_queue(p.name())).collect(),
            claim_batch: config.worker.claim_batch.into(),
            heartbeat: config.worker.heartbeat,
            lease: config.worker.lease,
            grace: config.worker.grace,
            shutdown_deadline: config.worker.shutdown_deadline,
            end_when_overdue: config.worker.end_when_overdue,
            ..WorkerConfig::default()
        },
    );
    let events = Events::new(
        database_url.as_str(),
        pool.clone(),
        PipelineSpec::of_all(&all),
        served,
        EventsConfig {
            broker_url: config.broker.url.clone(),
            exchange: config.broker.exchange.clone(),
            prefix: prefix_of(&config.broker.exchange),
            prefetch: config.broker.prefetch,
            down_after: config.broker.down_after,
            // A batch is short; what is not done by then comes again, here or elsewhere.
            shutdown_deadline: config.worker.shutdown_deadline.min(Duration::from_secs(5)),
            ..EventsConfig::default()
        },
    )
    .with_notifier(worker.notifier().clone())
    .with_quiet(worker.quiet());

    let readiness = ops::Readiness::new();
    readiness.add("postgres", {
        let pool = pool.clone();
        move || {
            let pool = pool.clone();
            async move { db::ping(&pool).await }
        }
    });
    if config.broker.url.is_some() {
        // Events go on over Postgres, so a broker that is away makes the process degraded and no more.
        let (pool, identity) = (pool.clone(), worker.identity());
        readiness.add_optional("broker", move || lane(pool.clone(), *identity.borrow()));
    }
    let address = ops::serve(config.worker.ops_listen, readiness, shutdown.clone()).await?;
    service::announce(address);

    let identity = worker.identity();
    // The events go first: their jobs are claimed in the worker's name, which it gives up at its end.
    let events_done = CancellationToken::new();
    let running = worker.run(events_done.clone());
    let consuming = async {
        events.run(identity, shutdown.clone()).await;
        events_done.cancel();
    };
    let (ended, ()) = tokio::join!(running, consuming);
    ended?;
    info!("stopped");
    Ok(())
}

/// Those of today and tomorrow. That there are none is an alarm and no reason not to work.
async fn make_partitions(pool: &Pool) {
    let made = async {
        let mut conn = pool.get().await.map_err(|error| error.to_string())?;
        partitions::ensure(&mut conn, partitions::AT_START).await.map_err(|error| error.to_string())
    };
    match made.await {
        Ok(round) if round.busy > 0 => warn!("partitions for today and tomorrow could not be made yet"),
        Ok(_) => {}
        Err(error) => warn!(error, "partitions for today and tomorrow could not be made"),
    }
}

/// Whether events ride on the broker; the relay says so in the worker's own row.
async fn lane(pool: Pool, worker: Option<Uuid>) -> Result<(), String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        reason: Option<String>,
    }
    let mut conn = pool.get().await.map_err(|error| error.to_string())?;
    let row: Option<Row> = waybill_schema::sql(
        "select coalesce(event_lane_reason, 'events ride on Postgres') as reason from workers
         where id = $1 and event_lane = 'postgres'",
    )
    .bind::<Nullable<SqlUuid>, _>(worker)
    .get_result(&mut conn)
    .await
    .optional()
    .map_err(|error| error.to_string())?;
    match row {
        Some(row) => Err(row.reason.unwrap_or_default()),
        None => Ok(()),
    }
}

/// The pipelines named in the configuration.
fn served(all: &[Arc<dyn Pipeline>], names: &[String]) -> anyhow::Result<Vec<Arc<dyn Pipeline>>> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|p| p.name() != name.as_str())) {
        let known: Vec<_> = all.iter().map(|p| p.name()).collect();
        bail!("worker.pipelines: {unknown:?} is none of {}", known.join(", "));
    }
    Ok(all.iter().filter(|p| names.iter().any(|name| name == p.name())).cloned().collect())
}

/// What an entry of `worker.queues` is called that stands for every queue without one.
const UNNAMED: &str = "default";

/// Every queue of the registry with its concurrency; those that the configuration does not name have that of [`UNNAMED`].
fn queues_of(
    registry: &Registry,
    config: &Config,
    only: Option<&[String]>,
) -> anyhow::Result<Vec<(String, usize)>> {
    let known = registry.queues();
    if let Some(unknown) = only.into_iter().flatten().find(|name| !known.contains(&name.as_str())) {
        bail!("--queues: {unknown:?} is none of {}", known.join(", "));
    }
    let is_known = |name: &str| name == UNNAMED || known.contains(&name) || queues::ALL.contains(&name);
    if let Some(unknown) = config.worker.queues.keys().find(|name| !is_known(name)) {
        bail!("worker.queues: {unknown:?} is none of {}, {UNNAMED}", known.join(", "));
    }
    let concurrency = |queue: &str| {
        let named = config.worker.queues.get(queue).or_else(|| config.worker.queues.get(UNNAMED));
        named.copied().map_or(0, usize::from)
    };
    Ok(known
        .into_iter()
        .filter(|queue| only.is_none_or(|only| only.iter().any(|name| name == queue)))
        .map(|queue| (queue.to_owned(), concurrency(queue)))
        .filter(|(_, concurrency)| *concurrency > 0)
        .collect())
}

/// `waybill` for the exchange `waybill.events`: deployments that share a broker differ in the exchange, and so in queues.
fn prefix_of(exchange: &str) -> String {
    exchange.strip_suffix(".events").unwrap_or(exchange).to_owned()
}
