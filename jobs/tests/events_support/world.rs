//! A deployment of a test's own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{
    Pipeline, Policy, emit_all,
    events_lane::{EventsConfig, PipelineSpec},
    testing::{Proxy, TestDatabase, until},
};
use waybill_schema::Conn;

use super::{
    broker::{self, Names},
    process::Process,
    recorder::{Changed, Recorder},
};

/// The lane that a suite runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Amqp,
    Postgres,
}

impl Lane {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Postgres => "postgres",
        }
    }
}

pub struct World {
    pub db: TestDatabase,
    pub lane: Lane,
    pub names: Option<Names>,
    /// In front of the broker.
    pub proxy: Option<Proxy>,
    pub recorder: Arc<Recorder>,
    pub config: EventsConfig,
}

/// Attempts of an event in the tests.
pub const ATTEMPTS: i16 = 3;

#[derive(diesel::QueryableByName)]
struct Effect {
    #[diesel(sql_type = SqlUuid)]
    thing: Uuid,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    text: String,
}

impl World {
    /// A deployment on a lane; `None` if its broker is to be done without.
    pub async fn new(lane: Lane) -> Option<Self> {
        let mut world = Self::bare(lane).await;
        if lane == Lane::Amqp {
            world.with_broker(true)?;
        }
        Some(world)
    }

    /// A deployment with a broker that cannot be reached yet.
    pub async fn with_broker_away() -> Option<Self> {
        let mut world = Self::bare(Lane::Amqp).await;
        world.with_broker(false)?;
        Some(world)
    }

    async fn bare(lane: Lane) -> Self {
        if std::env::var("WAYBILL_TEST_LOG").is_ok() {
            let _ = tracing_subscriber::fmt()
                .with_env_filter("waybill=debug,lapin=warn")
                .with_test_writer()
                .try_init();
        }
        let db = TestDatabase::create().await;
        db.execute(
            "create table recorded (place bigint generated always as identity, pipeline text, event_id uuid, thing uuid,
                                   n bigint)",
        )
        .await;
        let config = EventsConfig {
            poll: (Duration::from_millis(5), Duration::from_millis(50)),
            linger: Duration::from_millis(10),
            down_after: Duration::from_millis(500),
            prefetch: 50,
            policy: Policy {
                max_attempts: ATTEMPTS,
                backoff: Duration::from_millis(50),
                backoff_cap: Duration::from_millis(100),
                timeout: Duration::from_secs(30),
            },
            ..EventsConfig::default()
        };
        Self { db, lane, names: None, proxy: None, recorder: Recorder::new("recorder", 50), config }
    }

    fn with_broker(&mut self, open: bool) -> Option<()> {
        let url = broker::url()?;
        let names = Names::new(url.clone(), &["recorder", "second"]);
        let (target, _) = broker::through(&url, ([127, 0, 0, 1], 0).into());
        let proxy = Proxy::start(target, open);
        let (_, proxied) = broker::through(&url, proxy.address);
        self.config.broker_url = Some(proxied.into());
        self.config.exchange.clone_from(&names.exchange);
        self.config.prefix.clone_from(&names.prefix);
        self.names = Some(names);
        self.proxy = Some(proxy);
        Some(())
    }

    pub fn names(&self) -> &Names {
        self.names.as_ref().unwrap()
    }

    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    /// A process with a relay and the recorder.
    pub fn process(&self) -> Process {
        self.process_with(vec![self.recorder.clone()])
    }

    /// A process with a relay that serves no pipeline.
    pub fn relay_only(&self) -> Process {
        self.process_with(Vec::new())
    }

    /// A process with a relay of another release's code, whose pipeline is this.
    pub fn process_of(&self, pipeline: Arc<dyn Pipeline>) -> Process {
        let routes = vec![PipelineSpec::of(pipeline.as_ref())];
        Process::start(self.db.url(), self.config.clone(), routes, vec![pipeline])
    }

    pub fn process_with(&self, pipelines: Vec<Arc<dyn Pipeline>>) -> Process {
        let routes = vec![PipelineSpec::of(self.recorder.as_ref())];
        Process::start(self.db.url(), self.config.clone(), routes, pipelines)
    }

    /// Emits `n` from each of `range` for each thing, a transaction for each `n`.
    pub async fn emit(&self, things: &[Uuid], range: std::ops::Range<i64>) {
        let mut conn = self.db.conn().await;
        for n in range {
            let events: Vec<Changed> = things.iter().map(|thing| Changed { thing: *thing, n }).collect();
            let conn: &mut Conn = &mut conn;
            conn.transaction(async |conn: &mut Conn| emit_all(conn, &events, None).await).await.unwrap();
        }
    }

    /// Everything that was done, in order, by thing.
    pub async fn effects(&self) -> BTreeMap<Uuid, Vec<i64>> {
        use diesel_async::RunQueryDsl as _;
        let rows: Vec<Effect> = diesel::sql_query("select thing, n from recorded order by place")
            .load(&mut self.db.conn().await)
            .await
            .unwrap();
        let mut effects: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
        for row in rows {
            effects.entry(row.thing).or_default().push(row.n);
        }
        effects
    }

    /// Until there are that many effects and nothing is left to do.
    pub async fn settled(&self, effects: usize) {
        let effects = i64::try_from(effects).unwrap();
        until("the events are handled", || async {
            let done = self.db.count("select count(*) as n from recorded").await;
            assert!(done <= effects, "{done} effects of {effects} events");
            done == effects && self.left().await == 0
        })
        .await;
    }

    /// Events in the outbox and live event jobs.
    pub async fn left(&self) -> i64 {
        let mut conn = self.db.conn().await;
        let backlog = waybill_jobs::events_lane::backlog(&mut conn).await.unwrap();
        backlog.total()
    }

    /// Asserts that each thing has had exactly `range`, in order.
    pub async fn assert_in_order(&self, things: &[Uuid], range: std::ops::Range<i64>) {
        let effects = self.effects().await;
        for thing in things {
            let expected: Vec<i64> = range.clone().collect();
            assert_eq!(effects.get(thing), Some(&expected), "of {thing}");
        }
        assert_eq!(effects.len(), things.len());
    }

    /// Until every shard that has had events is on `lane`.
    pub async fn on_lane(&self, lane: Lane) {
        let query = format!("select count(*) as n from event_shards where lane = '{}'", lane.as_str());
        until("the lane is taken", || async { self.db.count(&query).await > 0 }).await;
    }

    /// What took the job of a killed worker over would do.
    pub async fn take_over(&self, dead: Uuid) {
        self.db
            .execute(&format!(
                "update jobs set state = 'queued', worker_id = null, claimed_at = null where worker_id = '{dead}'"
            ))
            .await;
    }

    /// Ends every connection to the database.
    pub async fn restart_database(&self) {
        self.db.cut_connections().await;
        // Our own pool too finds out one by one which of its connections are gone.
        let mut answers = 0;
        while answers < 10 {
            let answered = waybill_schema::db::ping(self.db.pool()).await.is_ok();
            answers = if answered { answers + 1 } else { 0 };
        }
    }

    /// Takes the database away from everybody, or gives it back.
    pub async fn database_away(&self, away: bool) {
        use diesel_async::SimpleAsyncConnection as _;
        let url = self.db.url();
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        let admin = std::env::var("WAYBILL_TEST_DATABASE_URL").unwrap();
        let mut conn = diesel_async::AsyncPgConnection::establish(&admin).await.unwrap();
        conn.batch_execute(&format!("alter database {name} allow_connections {}", !away)).await.unwrap();
        if away {
            self.db.cut_connections().await;
        } else {
            until("it answers", || async { waybill_schema::db::ping(self.db.pool()).await.is_ok() }).await;
        }
    }

    /// Whether a new connection to the database can be made.
    pub async fn database_answers(&self) -> bool {
        diesel_async::AsyncPgConnection::establish(self.db.url()).await.is_ok()
    }

    /// The first column of each row, as text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        use diesel_async::RunQueryDsl as _;
        let rows: Vec<Row> = diesel::sql_query(format!("select text::text from ({query}) as t(text)"))
            .load(&mut self.db.conn().await)
            .await
            .unwrap();
        rows.into_iter().map(|row| row.text).collect()
    }

    /// Inserts a second job for every event of the outbox's log, as a duplicate of it.
    pub async fn duplicate_jobs(&self, ids: &[Uuid]) {
        use diesel_async::RunQueryDsl as _;
        diesel::sql_query(
            "insert into jobs (id, kind, queue, max_attempts, payload)
             select gen_random_uuid(), 'event.recorder', 'events.recorder', 3,
                 event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                     traceparent, payload)
             from event_log where id = any ($1)",
        )
        .bind::<Array<SqlUuid>, _>(ids)
        .execute(&mut self.db.conn().await)
        .await
        .unwrap();
    }
}

/// Ids of things.
pub fn things(n: usize) -> Vec<Uuid> {
    (0..n).map(|_| waybill_schema::new_id()).collect()
}
