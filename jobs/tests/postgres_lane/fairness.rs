//! One queue's trouble is not the others'.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use serde::{Deserialize, Serialize};
use waybill_jobs::{
    Job, Outcome,
    control::{self, Limits},
    testing::TestDatabase,
};

use crate::rig::{Probe, QUEUE, Rig, config, put, registry, when};

/// A job of a queue without limits.
#[derive(Debug, Serialize, Deserialize)]
struct Free {}

impl Job for Free {
    const KIND: &'static str = "test.free";
    const QUEUE: &'static str = "free";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_queue_whose_row_is_held_keeps_no_other_queue_waiting() {
    let db = TestDatabase::create().await;
    let limits = Limits { max_running: Some(1), ..Limits::default() };
    control::set_limits(&mut *db.conn().await, QUEUE, &limits, "op").await.unwrap();
    let registry = registry(async |_, _| Ok(Outcome::done())).job::<Free>(async |_, _| Ok(Outcome::done()));
    let mut settings = config();
    settings.queues.push((Free::QUEUE.to_owned(), 8));
    let mut rig = Rig::start(&db, registry, settings);
    rig.id().await;

    // Somebody who claims from it, or changes its limits, takes long.
    let mut holder = db.conn().await;
    let hold = format!("begin; select from queue_controls where queue = '{QUEUE}' for update");
    holder.batch_execute(&hold).await.unwrap();
    let limited = put(&db, &Probe::default()).await;
    // An idle worker looks at each queue once a second, so within three it has come across this one.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let id = waybill_jobs::enqueue(&*db.conn().await, &Free {}).await.unwrap();
        let asked = Instant::now();
        when(&db, id, "done").await;
        // Nobody sends hints here: it may take a second to be seen, and then does not wait.
        assert!(asked.elapsed() < Duration::from_secs(2), "it waited for {:?}", asked.elapsed());
    }
    holder.batch_execute("rollback").await.unwrap();
    drop(holder);
    when(&db, limited, "done").await;
    rig.stop().await;
}
