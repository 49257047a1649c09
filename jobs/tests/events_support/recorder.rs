//! A pipeline that records its effects, and fails when told to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;
use waybill_jobs::{Event, EventEnvelope, Failure, Pipeline, PipelineError};
use waybill_schema::{Conn, Pool};

/// An event of the tests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    pub thing: Uuid,
    /// Counts up for each thing.
    pub n: i64,
}

impl Event for Changed {
    const TOPIC: &'static str = "thing.changed";
    const AGGREGATE: &'static str = "thing";

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }

    fn correlation_id(&self) -> Option<Uuid> {
        Some(self.thing)
    }
}

/// An event that nobody wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unwanted {
    pub thing: Uuid,
}

impl Event for Unwanted {
    const TOPIC: &'static str = "thing.unwanted";
    const AGGREGATE: &'static str = "thing";

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }
}

/// [`Changed`] in a version that only a newer release reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangedMore {
    pub thing: Uuid,
    pub n: i64,
}

impl Event for ChangedMore {
    const TOPIC: &'static str = Changed::TOPIC;
    const AGGREGATE: &'static str = Changed::AGGREGATE;
    const VERSION: i16 = 2;

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }
}

/// An event that only a newer release knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Added {
    pub thing: Uuid,
    pub n: i64,
}

impl Event for Added {
    const TOPIC: &'static str = "thing.added";
    const AGGREGATE: &'static str = "thing";

    fn aggregate_id(&self) -> Uuid {
        self.thing
    }
}

/// The pipeline `recorder` of a newer release.
pub struct Newer;

#[async_trait]
impl Pipeline for Newer {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Changed::TOPIC, Added::TOPIC]
    }

    fn reads(&self, topic: &str) -> i16 {
        if topic == Changed::TOPIC { 2 } else { 1 }
    }

    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        for event in batch {
            diesel::sql_query(
                "insert into recorded (pipeline, event_id, thing, n) values ('recorder', $1, $2, $3)",
            )
            .bind::<SqlUuid, _>(event.id)
            .bind::<SqlUuid, _>(event.aggregate_id)
            .bind::<BigInt, _>(event.payload["n"].as_i64().unwrap())
            .execute(conn)
            .await?;
        }
        Ok(())
    }
}

/// What the recorder is to do.
#[derive(Debug, Default)]
pub struct Script {
    /// (thing, n) -> how many more times it fails.
    pub failures: HashMap<(Uuid, i64), u32>,
    /// Fails for ever, retryably.
    pub poison: Vec<(Uuid, i64)>,
    /// Fails for good at once.
    pub hopeless: Vec<(Uuid, i64)>,
    /// Panics once.
    pub panics: Vec<(Uuid, i64)>,
}

/// Shared by all processes of a test.
pub struct Recorder {
    pub script: Mutex<Script>,
    /// Sizes of the batches that were applied.
    pub batches: Mutex<Vec<usize>>,
    /// Permits to go on in `apply`; plenty unless a test takes them away.
    pub gate: Semaphore,
    /// Calls of `apply` that have begun.
    pub begun: watch::Sender<u64>,
    name: &'static str,
    max_batch: usize,
}

const PLENTY: usize = 1_000_000;

impl Recorder {
    pub fn new(name: &'static str, max_batch: usize) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            batches: Mutex::default(),
            gate: Semaphore::new(PLENTY),
            begun: watch::Sender::new(0),
            name,
            max_batch,
        })
    }

    /// Holds every `apply` from now on.
    pub fn hold(&self) {
        self.gate.forget_permits(PLENTY);
    }

    /// Lets them go.
    pub fn release(&self) {
        self.gate.add_permits(PLENTY);
    }

    /// Until another `apply` than the first `n` has begun.
    pub async fn begun_more_than(&self, n: u64) {
        self.begun.subscribe().wait_for(|begun| *begun > n).await.unwrap();
    }

    fn judge(&self, changed: &Changed) -> Result<(), Failure> {
        let key = (changed.thing, changed.n);
        let mut script = self.script.lock().unwrap();
        if script.hopeless.contains(&key) {
            return Err(Failure::permanent("hopeless"));
        }
        if script.poison.contains(&key) {
            return Err(Failure::retryable("poison"));
        }
        if let Some(left) = script.failures.get_mut(&key)
            && *left > 0
        {
            *left -= 1;
            return Err(Failure::retryable("not this time"));
        }
        if let Some(at) = script.panics.iter().position(|panics| *panics == key) {
            script.panics.remove(at);
            drop(script);
            panic!("scripted");
        }
        Ok(())
    }
}

#[async_trait]
impl Pipeline for Recorder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Changed::TOPIC]
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    async fn prepare(&self, batch: &[EventEnvelope], _: &Pool) -> Result<(), PipelineError> {
        assert!(!batch.is_empty() && batch.len() <= self.max_batch);
        Ok(())
    }

    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        self.begun.send_modify(|begun| *begun += 1);
        self.gate.acquire().await.unwrap().forget();
        self.gate.add_permits(1);
        let changes: Vec<Changed> =
            batch.iter().map(|event| event.read::<Changed>().unwrap()).collect::<Result<_, _>>()?;
        // Written before it fails, so that a failure shows whether it is rolled back.
        diesel::sql_query(
            "insert into recorded (pipeline, event_id, thing, n)
             select $1, event_id, thing, n from unnest($2, $3, $4) with ordinality as t(event_id, thing, n, place)
             order by place",
        )
        .bind::<Text, _>(self.name)
        .bind::<Array<SqlUuid>, _>(batch.iter().map(|event| event.id).collect::<Vec<_>>())
        .bind::<Array<SqlUuid>, _>(changes.iter().map(|changed| changed.thing).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(changes.iter().map(|changed| changed.n).collect::<Vec<_>>())
        .execute(conn)
        .await?;
        for changed in &changes {
            self.judge(changed)?;
        }
        self.batches.lock().unwrap().push(batch.len());
        Ok(())
    }
}
