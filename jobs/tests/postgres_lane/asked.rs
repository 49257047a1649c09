//! What a wish to cancel must not reach: the run that undoes; and lines that come after the end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Cancelled, Job, JobContext, JobResult, Level, Outcome, Policy, Registry, cancel, enqueue,
    erase::{Live, erase},
    testing::{TestDatabase, until},
};
use waybill_schema::new_id;

use crate::rig::{QUEUE, Rig, config, when};

/// Takes something for a person, and can give it back.
#[derive(Serialize, Deserialize)]
struct Lend {
    person: Uuid,
}

impl Job for Lend {
    const KIND: &'static str = "test.lend";
    const QUEUE: &'static str = QUEUE;
    const COMPENSATES: bool = true;
    const POLICY: Policy = Policy { max_attempts: 2, ..Policy::DEFAULT };

    fn subject_id(&self) -> Option<Uuid> {
        Some(self.person)
    }
}

/// The wish is still in the row while the compensation runs; neither a heartbeat nor a hint may take it for one that means this
/// run.
#[tokio::test]
async fn a_compensation_is_not_asked_to_end_by_the_wish_it_comes_from() {
    let db = TestDatabase::create().await;
    let id = enqueue(&*db.conn().await, &Lend { person: new_id() }).await.unwrap();
    let (pool, said) = (db.pool().clone(), Arc::new(Mutex::new(None)));
    let heard = Arc::clone(&said);
    let registry = Registry::new().job_with_compensation::<Lend>(
        async |_: Lend, context: JobContext| -> JobResult {
            context.cancelled.cancelled().await;
            std::future::pending().await
        },
        move |_: Lend, context: JobContext| {
            let (pool, heard) = (pool.clone(), Arc::clone(&heard));
            async move {
                // Asked again: all a second wish does is to send another hint.
                let again = cancel(&mut *pool.get().await?, context.id, "somebody", "again").await?;
                assert_eq!(again, Cancelled::Undoing);
                diesel_async::SimpleAsyncConnection::batch_execute(
                    &mut *pool.get().await?,
                    "notify waybill_jobs, '!asked'",
                )
                .await?;
                let beats = "select heartbeat_at::text as at from workers limit 1";
                let first = beat(&pool, beats).await;
                // Each beat answers with who was asked.
                for _ in 0..2 {
                    let last = beat(&pool, beats).await;
                    until("the heart beats", || async { beat(&pool, beats).await != last }).await;
                }
                assert_ne!(beat(&pool, beats).await, first);
                *heard.lock().unwrap() = Some(context.cancelled.is_cancelled());
                Ok(Outcome::done())
            }
        },
    );
    let rig = Rig::start(&db, registry, config());
    when(&db, id, "running").await;
    cancel(&mut *db.conn().await, id, "somebody", "not wanted").await.unwrap();
    assert_eq!(when(&db, id, "cancelled").await.reason.as_deref(), Some("not wanted"));
    assert_eq!(*said.lock().unwrap(), Some(false));
    rig.stop().await;
}

async fn beat(pool: &waybill_schema::Pool, query: &str) -> String {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        at: String,
    }
    let row: Row =
        diesel_async::RunQueryDsl::get_result(diesel::sql_query(query), &mut pool.get().await.unwrap())
            .await
            .unwrap();
    row.at
}

/// Works for a person, and does not listen.
#[derive(Serialize, Deserialize)]
struct Deaf {
    person: Uuid,
}

impl Job for Deaf {
    const KIND: &'static str = "test.deaf";
    const QUEUE: &'static str = QUEUE;
    const POLICY: Policy = Policy { max_attempts: 1, timeout: Duration::from_millis(300), ..Policy::DEFAULT };

    fn subject_id(&self) -> Option<Uuid> {
        Some(self.person)
    }
}

/// A handler that is dropped has its last lines written before its job is over, and nothing is written for it later: not even
/// by what it has left running. So one erasure of a job that is over is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_of_a_dropped_handler_comes_after_its_end() {
    let db = TestDatabase::create().await;
    let person = new_id();
    let id = enqueue(&*db.conn().await, &Deaf { person }).await.unwrap();
    let left: Arc<Mutex<Option<JobContext>>> = Arc::default();
    let keeps = Arc::clone(&left);
    let registry = Registry::new().job::<Deaf>(move |_: Deaf, context: JobContext| {
        let keeps = Arc::clone(&keeps);
        async move {
            // Written at once, so that the last one waits for the next batch.
            for n in 0..100 {
                context.log(Level::Info, format!("line {n}"));
            }
            context.log(Level::Info, "the last one");
            *keeps.lock().unwrap() = Some(context);
            std::future::pending().await
        }
    });
    let quick = waybill_jobs::runtime::WorkerConfig { cancel_grace: Duration::from_millis(20), ..config() };
    let rig = Rig::start(&db, registry, quick);
    when(&db, id, "dead").await;
    assert_eq!(db.count("select count(*) as n from job_logs").await, 101, "all were there before the end");
    let erased = erase(&mut *db.conn().await, person, Live::Leave).await.unwrap();
    assert_eq!((erased.log_lines, erased.live), (101, 0));
    let context = left.lock().unwrap().take().unwrap();
    context.log(Level::Info, "after the end");
    context.logs.flush().await;
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from job_logs").await, 0);
}

/// A worker that was taken for dead has lines in hand when another has run its job and the person was erased.
#[tokio::test]
async fn lines_of_a_lost_run_do_not_come_after_an_erasure() {
    let db = TestDatabase::create().await;
    let person = new_id();
    let id = enqueue(&*db.conn().await, &Deaf { person }).await.unwrap();
    let lost: Arc<Mutex<Vec<JobContext>>> = Arc::default();
    let keeps = Arc::clone(&lost);
    let registry = Registry::new().job::<Deaf>(move |_: Deaf, context: JobContext| {
        keeps.lock().unwrap().push(context);
        async { Ok(Outcome::done()) }
    });
    // As a run inline: nobody says when it ends.
    assert_eq!(waybill_jobs::testing::run_one(db.pool(), &registry, id).await.outcome, "done");
    let context = lost.lock().unwrap().pop().unwrap();
    context.log(Level::Info, "in time");
    context.logs.flush().await;
    let lines = "select count(*) as n from job_logs";
    assert_eq!(db.count(lines).await, 1, "the job is over, and its last run still has a line");
    db.execute("update job_history set claim = claim + 1").await;
    context.log(Level::Info, "of a run that was not the last");
    context.logs.flush().await;
    assert_eq!(db.count(lines).await, 1);
    db.execute("update job_history set claim = claim - 1").await;
    assert_eq!(erase(&mut *db.conn().await, person, Live::Leave).await.unwrap().log_lines, 1);
    context.log(Level::Info, "too late");
    context.logs.flush().await;
    assert_eq!(db.count(lines).await, 0);
}
