//! From the outbox through the broker to a batch consumer that has acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use async_trait::async_trait;
use diesel::sql_types::Uuid as SqlUuid;
use lapin::{
    Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::{
    Event, EventEnvelope, Pipeline, PipelineError, emit_all,
    events_lane::{Events, EventsConfig, PipelineSpec, backlog},
};
use waybill_schema::{Conn, new_id};

use super::database::Database;

/// What the names at the broker begin with.
const PREFIX: &str = "waybill-bench";
const PIPELINE: &str = "bench";
/// Events of an aggregate, each in a transaction of its own with one of every other aggregate.
const EACH: i64 = 100;

/// An event of about 100 bytes.
#[derive(Serialize, Deserialize)]
struct Changed {
    thing: Uuid,
    n: i64,
    note: String,
}

impl Event for Changed {
    const TOPIC: &'static str = "bench.changed";
    const AGGREGATE: &'static str = "bench";

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }
}

/// Reads each event and does nothing else: the lane is measured, its inbox and its acknowledgements.
struct Reader(AtomicUsize);

#[async_trait]
impl Pipeline for Reader {
    fn name(&self) -> &'static str {
        PIPELINE
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Changed::TOPIC]
    }

    fn max_batch(&self) -> usize {
        500
    }

    async fn apply(&self, batch: &[EventEnvelope], _: &mut Conn) -> Result<(), PipelineError> {
        for event in batch {
            event.read::<Changed>().transpose()?;
        }
        self.0.fetch_add(batch.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// Events per second.
pub async fn end_to_end(server: &str, broker: &str, events: usize) -> anyhow::Result<f64> {
    let database = Database::create(server, "events").await?;
    waybill_schema::db::migrate(&database.url).await?;
    let pool = waybill_schema::db::connect(&database.url, 8, Duration::from_secs(10)).await?;
    let worker = new_id();
    {
        let mut conn = pool.get().await?;
        let conn: &mut Conn = &mut conn;
        register(conn, worker).await?;
        emit(conn, events).await?;
    }
    clean(broker).await?;

    let reader = Arc::new(Reader(AtomicUsize::new(0)));
    let config = EventsConfig {
        broker_url: Some(broker.to_owned().into()),
        exchange: format!("{PREFIX}.events"),
        prefix: PREFIX.to_owned(),
        prefetch: 500,
        relay_batch: 1_000,
        ..EventsConfig::default()
    };
    let (_identity, identity) = watch::channel(Some(worker));
    let stop = CancellationToken::new();
    let routes = vec![PipelineSpec::of(reader.as_ref())];
    let lane = Events::new(database.url.as_str(), pool.clone(), routes, vec![reader.clone()], config);
    let start = Instant::now();
    let running = tokio::spawn(lane.run(identity, stop.clone()));
    let total = i64::try_from(events)?;
    loop {
        ensure!(start.elapsed() < Duration::from_secs(180), "the events do not come through");
        if reader.0.load(Ordering::Relaxed) >= events
            && database.count("select count(*) from inbox").await? == total
        {
            let mut conn = pool.get().await?;
            if backlog(&mut conn).await?.total() == 0 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    stop.cancel();
    running.await?;
    clean(broker).await?;
    drop(pool);
    database.remove().await?;
    #[allow(clippy::cast_precision_loss)]
    Ok(events as f64 / seconds)
}

async fn emit(conn: &mut Conn, events: usize) -> anyhow::Result<()> {
    let things: Vec<Uuid> = (0..events.div_ceil(usize::try_from(EACH)?)).map(|_| new_id()).collect();
    for n in 0..EACH {
        let one = |thing: &Uuid| Changed { thing: *thing, n, note: "a mug was put on the shelf".to_owned() };
        let events: Vec<Changed> = things.iter().map(one).collect();
        emit_all(conn, &events, None).await?;
    }
    Ok(())
}

/// The row that a process has which runs jobs and relays.
async fn register(conn: &mut Conn, worker: Uuid) -> anyhow::Result<()> {
    // Not above: its methods are found on atomics too.
    use diesel_async::RunQueryDsl as _;
    waybill_schema::sql(
        "insert into workers (id, service, host, pid, version, lock_key, lease_until)
         values ($1, 'bench', 'bench', 1, '0', 0, now() + interval '1 day')",
    )
    .bind::<SqlUuid, _>(worker)
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves nothing of a run at the broker.
async fn clean(broker: &str) -> anyhow::Result<()> {
    let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in [PIPELINE, "dead"] {
        let name = format!("{PREFIX}.{queue}");
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in ["events", "dead"] {
        let name = format!("{PREFIX}.{exchange}");
        channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}
