//! Moving the time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Pool;

use crate::clock::Clock;

/// Moves a clock that stands still, and makes the jobs due whose time comes with it; returns how many. They keep their times, and
/// so their order. What handlers read of the database's own clock is still the present.
pub async fn advance(pool: &Pool, clock: &Clock, by: Duration) -> usize {
    assert!(clock.is_frozen(), "the system's clock moves by itself");
    clock.forward(by);
    due(pool, clock).await
}

/// Makes the jobs due whose time has come by a clock that stands still.
pub(super) async fn due(pool: &Pool, clock: &Clock) -> usize {
    waybill_schema::sql("update jobs set state = 'queued' where state = 'scheduled' and run_at <= $1")
        .bind::<Timestamptz, _>(clock.now())
        .execute(&mut pool.get().await.unwrap())
        .await
        .unwrap()
}

/// A job that was put back by the database's clock is put where it belongs by one that stands still.
pub(super) async fn put_back(pool: &Pool, clock: &Clock, id: Uuid, delay: Duration) {
    waybill_schema::sql("update jobs set state = 'scheduled', run_at = $2 where id = $1")
        .bind::<SqlUuid, _>(id)
        .bind::<Timestamptz, _>(clock.now() + delay)
        .execute(&mut pool.get().await.unwrap())
        .await
        .unwrap();
}

/// For tests without a clock that stands still: jobs that were to run up to `time` can run now, as far apart as they were. Returns
/// how many became due.
pub async fn advance_to(pool: &Pool, time: DateTime<Utc>) -> usize {
    waybill_schema::sql(
        "update jobs set state = 'queued', run_at = run_at - greatest($1 - statement_timestamp(), interval '0')
         where state = 'scheduled' and run_at <= $1",
    )
    .bind::<Timestamptz, _>(time)
    .execute(&mut pool.get().await.unwrap())
    .await
    .unwrap()
}
