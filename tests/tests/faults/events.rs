//! An old and a new release side by side, on each lane: events that only the new one reads are not lost to the old one.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::{
    Event, EventEnvelope, Pipeline, PipelineError, Registry, emit_all,
    events::{CustomerRegistered, INDEXING, NOTIFICATIONS, TOPICS, WEBHOOKS},
    events_lane::{Events, EventsConfig, PipelineSpec},
    queues,
    runtime::{Worker, WorkerConfig},
};
use waybill_schema::Conn;
use waybill_tests::{Plan, System};

use crate::{books::recovered, load::Load};

/// A topic that the binaries under test do not have.
#[derive(Serialize, Deserialize)]
struct Happened {
    thing: Uuid,
}

impl Event for Happened {
    const TOPIC: &'static str = "test.happened";
    const AGGREGATE: &'static str = "thing";

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }
}

/// A topic that they have, in a version that they cannot read.
#[derive(Serialize, Deserialize)]
struct Registered {
    person: Uuid,
}

impl Event for Registered {
    const TOPIC: &'static str = CustomerRegistered::TOPIC;
    const AGGREGATE: &'static str = CustomerRegistered::AGGREGATE;
    const VERSION: i16 = CustomerRegistered::VERSION + 1;

    fn aggregate_id(&self) -> Uuid {
        self.person
    }
}

static NEW_TOPICS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| TOPICS.iter().copied().chain([Happened::TOPIC]).collect());

/// The pipeline `webhooks` of the new release. Nobody has registered an endpoint, so it has nothing to do.
struct NewWebhooks;

#[async_trait]
impl Pipeline for NewWebhooks {
    fn name(&self) -> &'static str {
        WEBHOOKS.name
    }

    fn topics(&self) -> &'static [&'static str] {
        NEW_TOPICS.as_slice()
    }

    fn reads(&self, topic: &str) -> i16 {
        if topic == Registered::TOPIC { Registered::VERSION } else { 1 }
    }

    async fn apply(&self, _: &[EventEnvelope], _: &mut Conn) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// A worker of the new release: a relay, and the consumer of its webhooks.
struct NewRelease {
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl NewRelease {
    async fn start(system: &System) -> anyhow::Result<Self> {
        let pool = waybill_schema::db::connect(&system.database_url, 4, Duration::from_secs(10)).await?;
        let worker = Worker::new(
            system.database_url.as_str(),
            pool.clone(),
            Registry::new(),
            WorkerConfig {
                service: "newer".to_owned(),
                queues: Vec::new(),
                other_queues: vec![queues::pipeline_queue(WEBHOOKS.name)],
                ..WorkerConfig::default()
            },
        );
        let mut config = EventsConfig::default();
        if let Some(exchange) = &system.exchange {
            config.broker_url = Some(exchange.url().to_owned().into());
            config.exchange = exchange.name();
            config.prefix = exchange.name().trim_end_matches(".events").to_owned();
        }
        let routes = vec![INDEXING, NOTIFICATIONS, PipelineSpec::of(&NewWebhooks)];
        let events =
            Events::new(system.database_url.as_str(), pool, routes, vec![Arc::new(NewWebhooks)], config)
                .with_notifier(worker.notifier().clone());
        let stop = CancellationToken::new();
        let (identity, stopped, done) = (worker.identity(), stop.clone(), CancellationToken::new());
        let running = tokio::spawn(async move {
            let ended = worker.run(done.clone());
            let consuming = async {
                events.run(identity, stopped).await;
                done.cancel();
            };
            let (ended, ()) = tokio::join!(ended, consuming);
            Ok(ended?)
        });
        Ok(Self { stop, running })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await?
    }
}

const EACH: usize = 10;
/// How long at most a worker puts aside what it does not read.
const LONGEST_SNOOZE: Duration = Duration::from_secs(20);
const NEW: &str = "(topic = 'test.happened' or topic = 'customer.registered' and version = 2)";

async fn deployed_beside_the_old(plan: Plan, lane: &str) -> anyhow::Result<()> {
    let mut system = System::start(plan.workers(2)).await?;
    let mut load = Load::start(&system, 4).await?;
    load.confirmed(5).await?;

    // The new release starts, and dies at once; its API is up already.
    let tried = NewRelease::start(&system).await?;
    let route = "select count(*) as n from event_routes where topic = 'test.happened'";
    system.until_count("the new release to say what it wants", route, 1).await?;
    tried.stop().await?;
    let conn = system.connection().await?;
    let happened: Vec<Happened> = (0..EACH).map(|_| Happened { thing: Uuid::now_v7() }).collect();
    emit_all(&conn, &happened, None).await?;
    let registered: Vec<Registered> = (0..EACH).map(|_| Registered { person: Uuid::now_v7() }).collect();
    emit_all(&conn, &registered, None).await?;

    // The old workers put them aside and spend nothing of them.
    let all = 2 * i64::try_from(EACH)?;
    let aside = "select count(*) as n from jobs
        where queue = 'events.webhooks' and state = 'scheduled' and snoozes > 0 and attempt = 0";
    system.until_count("the old workers to put aside what they do not read", aside, all).await?;
    let handed = format!(
        "select count(*) as n from event_log where {NEW} and lane = '{lane}' and pipelines = '{{webhooks}}'"
    );
    ensure!(system.count(&handed).await? == all, "not handed to its pipeline");

    let deployed = Instant::now();
    let new = NewRelease::start(&system).await?;
    // The old ones leave one by one; whoever comes for the orders must not be old again for this pipeline.
    for _ in 0..2 {
        let mut leaving = system.workers.remove(0);
        ensure!(leaving.stop().await?, "{}", leaving.log());
        system.add_worker(&[("WAYBILL_WORKER__PIPELINES", "notifications, indexing")]).await?;
    }
    load.confirmed(10).await?;
    let handled = format!(
        "select count(*) as n from event_log e join inbox i on i.event_id = e.id and i.pipeline = 'webhooks' where {NEW}"
    );
    while let Err(waiting) = system.until_count("the new worker to handle what waited", &handled, all).await {
        ensure!(deployed.elapsed() < LONGEST_SNOOZE + Duration::from_secs(60), "{waiting:#}");
    }
    println!(
        "events that only the new version reads were handled {:.2} s after its start, lane {lane}",
        deployed.elapsed().as_secs_f64()
    );
    let spent = "select count(*) as n from job_history where queue = 'events.webhooks' and snoozes > 0 and attempt = 1";
    ensure!(system.count(spent).await? == all, "an attempt was spent by a worker that could not read it");
    recovered(&system, load, &format!("old and new releases of a pipeline, lane {lane}"), deployed).await?;
    new.stop().await.context("the new release")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn events_of_a_new_version_wait_for_it_at_the_broker() -> anyhow::Result<()> {
    let plan = Plan::default();
    if plan.broker.is_none() {
        return Ok(());
    }
    deployed_beside_the_old(plan, "amqp").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn events_of_a_new_version_wait_for_it_on_postgres() -> anyhow::Result<()> {
    deployed_beside_the_old(Plan { broker: None, ..Plan::default() }, "postgres").await
}
