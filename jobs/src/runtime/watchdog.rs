//! Handlers that do not end when they must.
//!
//! A handler is asked to stop at its timeout and dropped after the grace, but a future can only be dropped where it yields. One
//! that never does (a computation without `await`, a blocking call) holds its thread, its place and its job for good, while the
//! heartbeat goes on. All that can be done from inside is to say so, loudly; and to end the process, if that is wanted.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use diesel::sql_types::{Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tokio::sync::watch;
use uuid::Uuid;
use waybill_schema::Pool;

use crate::postgres::session::Session;

/// Exit code of a process that ends because of an overdue job: an internal error, as in sysexits.h.
const EXIT: i32 = 70;
/// Pause before the number is written again after the database refused it.
const RETRY: Duration = Duration::from_secs(1);

/// Watches the handlers of a session for as long as it has any, from a thread of its own: those of the runtime may all be
/// held. `end` is whether to end the process as soon as one is overdue.
pub(super) fn start(session: &Arc<Session>, pool: Pool, every: Duration, end: bool) {
    let (count, counts) = watch::channel(0);
    tokio::spawn(publish(pool, session.id(), counts));
    let session = Arc::downgrade(session);
    let watching = std::thread::Builder::new()
        .name("waybill-watchdog".to_owned())
        .spawn(move || watch(&session, &count, every, end));
    if let Err(error) = watching {
        tracing::error!(%error, "no thread to watch over handlers that never yield");
    }
}

fn watch(session: &Weak<Session>, count: &watch::Sender<i32>, every: Duration, end: bool) {
    // Not set but changed: the session before this one may have left some behind.
    let gauge = metrics::gauge!("waybill_jobs_overdue");
    let mut last = 0_u32;
    loop {
        std::thread::sleep(every);
        let Some(session) = session.upgrade() else { break };
        let overdue = session.overdue(Instant::now());
        for (id, kind, by) in &overdue.fresh {
            tracing::error!(
                %id, kind, ?by, ending = end,
                "a handler neither ended at its timeout nor yields: its job and its place are held until this process ends"
            );
        }
        let now = u32::try_from(overdue.jobs).unwrap_or(u32::MAX);
        if end && now > 0 {
            // The lock falls with the process, and the others take its jobs over within about a second.
            std::process::exit(EXIT);
        }
        if now != last {
            gauge.increment(f64::from(now) - f64::from(last));
            count.send_replace(i32::try_from(now).unwrap_or(i32::MAX));
            last = now;
        }
    }
    gauge.decrement(f64::from(last));
}

/// Writes the number into the worker's row whenever it changes, until the session is gone.
async fn publish(pool: Pool, worker: Uuid, mut counts: watch::Receiver<i32>) {
    while counts.changed().await.is_ok() {
        loop {
            let overdue = *counts.borrow_and_update();
            match write(&pool, worker, overdue).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(error, "the number of overdue jobs waits for the database"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn write(pool: &Pool, worker: Uuid, overdue: i32) -> Result<(), String> {
    let mut conn = pool.get().await.map_err(|error| error.to_string())?;
    waybill_schema::sql("update workers set overdue = $2 where id = $1")
        .bind::<SqlUuid, _>(worker)
        .bind::<Integer, _>(overdue)
        .execute(&mut conn)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
