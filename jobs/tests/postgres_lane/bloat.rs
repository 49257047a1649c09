//! The table of live jobs stays small, however many pass through it, and whoever looks on meanwhile.

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use uuid::Uuid;
use waybill_jobs::{
    postgres::{claim, complete::complete_done},
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, put_many};

const BATCH: usize = 200;

/// Jobs pass through: enqueued, claimed and done, a batch at a time.
async fn pass(db: &TestDatabase, worker: Uuid, batches: usize) {
    for _ in 0..batches {
        put_many(db, &vec![Probe::default(); BATCH]).await;
        let mut conn = db.conn().await;
        let claimed = claim(&mut conn, QUEUE, worker, BATCH).await.unwrap();
        assert_eq!(claimed.len(), BATCH);
        let done: Vec<_> = claimed.iter().map(|job| (job.id, job.claim)).collect();
        assert_eq!(complete_done(&mut conn, &done, &vec![None; BATCH]).await.unwrap().len(), BATCH);
    }
}

/// Blocks that a claim of one job touches, of the table and of its indexes.
async fn blocks(db: &TestDatabase, worker: Uuid) -> i64 {
    put_many(db, &[Probe::default()]).await;
    let mut conn = planned(db).await;
    let before = touched(&mut conn).await;
    let claimed = claim(&mut conn, QUEUE, worker, 1).await.unwrap();
    let after = touched(&mut conn).await;
    assert_eq!(
        complete_done(&mut conn, &[(claimed[0].id, claimed[0].claim)], &[None]).await.unwrap().len(),
        1
    );
    after - before
}

/// A session of its own, planned as a worker plans; what it did is in the statistics when it says so.
pub async fn planned(db: &TestDatabase) -> AsyncPgConnection {
    let mut conn = AsyncPgConnection::establish(db.url()).await.unwrap();
    conn.batch_execute(
        "set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
         set jit = off; set plan_cache_mode = force_generic_plan; set stats_fetch_consistency = none",
    )
    .await
    .unwrap();
    conn
}

/// Blocks of the table and its indexes that this session, and every other that has ended, has touched so far.
pub async fn touched(conn: &mut AsyncPgConnection) -> i64 {
    use diesel_async::RunQueryDsl as _;

    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    conn.batch_execute("select pg_stat_force_next_flush()").await.unwrap();
    let row: Row = diesel::sql_query(
        "select (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint as n
         from pg_statio_user_tables where relname = 'jobs'",
    )
    .get_result(conn)
    .await
    .unwrap();
    row.n
}

async fn pages(db: &TestDatabase) -> i64 {
    db.count("select pg_total_relation_size('jobs') / 8192 as n").await
}

#[tokio::test]
async fn the_table_of_live_jobs_is_bounded_by_the_longest_look_at_it_and_not_by_the_jobs() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    // Whether the server's own vacuum comes by must not matter.
    db.execute("alter table jobs set (autovacuum_enabled = false)").await;
    pass(&db, worker, 5).await;
    let fresh = blocks(&db, worker).await;

    let mut looks = db.conn().await;
    looks.batch_execute("begin isolation level repeatable read; select count(*) from jobs").await.unwrap();
    pass(&db, worker, 25).await;
    // What the look may still see cannot be cleared away.
    db.execute("vacuum jobs").await;
    let (at_5_000, pages_at_5_000) = (blocks(&db, worker).await, pages(&db).await);
    pass(&db, worker, 25).await;
    db.execute("vacuum jobs").await;
    let (at_10_000, pages_at_10_000) = (blocks(&db, worker).await, pages(&db).await);
    looks.batch_execute("commit").await.unwrap();
    println!(
        "blocks of a claim: {fresh}, behind 5,000 dead that somebody looks at {at_5_000}, behind 10,000 {at_10_000}; \
         pages of the table: {pages_at_5_000}, {pages_at_10_000}"
    );
    // A claim walks one index in order, so it steps over each of the dead once, and does nothing else with them.
    assert!(at_5_000 <= fresh + 2 * 5_000 && at_10_000 <= fresh + 2 * 10_000, "{at_5_000}, {at_10_000}");
    // With nobody looking, a claim marks in the index what it steps over, and those after it read the index's pages and not the
    // table's: an eighth, as measured. Who looks at this database for a moment, as an analyze by the server does, puts the
    // marking off, and so does whoever writes in any database of the server for longer: a session takes nothing for dead that
    // ended after the oldest transaction of all began.
    let now = db.count("select pg_current_xact_id()::text::bigint % 4294967296 as n").await;
    until("nobody looks, or writes for longer", || async {
        let others = format!(
            "select count(*) as n from pg_stat_activity
             where pid <> pg_backend_pid()
               and (datname = current_database() and backend_xmin is not null or age(backend_xid) > age('{now}'::xid))"
        );
        db.count(&others).await == 0
    })
    .await;
    let mut recovered = Vec::new();
    while recovered.len() < 20
        && recovered.last().is_none_or(|blocks| *blocks > fresh + (at_10_000 - fresh) / 4)
    {
        recovered.push(blocks(&db, worker).await);
    }
    assert!(
        recovered.last().is_some_and(|blocks| *blocks <= fresh + (at_10_000 - fresh) / 4),
        "without a vacuum, claims still step over the dead one by one: {recovered:?}, {at_10_000} before, {fresh} at first"
    );

    // Nobody looks any more: the room is used again, by as many jobs as before.
    db.execute("vacuum jobs").await;
    let after = blocks(&db, worker).await;
    for _ in 0..10 {
        pass(&db, worker, 10).await;
        db.execute("vacuum jobs").await;
    }
    // Emptied pages of an index are used again one vacuum later than those of the table.
    let settled = pages(&db).await;
    for _ in 0..10 {
        pass(&db, worker, 10).await;
        db.execute("vacuum jobs").await;
    }
    println!(
        "afterwards: blocks of claims {recovered:?}, vacuumed {after}; after 20,000 more jobs {settled} pages, \
         after 40,000 {}",
        pages(&db).await
    );
    assert!(settled <= pages_at_10_000 * 3 / 2, "20,000 more jobs grew it");
    assert!(pages(&db).await <= settled + settled / 50, "and it goes on growing");
    db.execute("analyze jobs").await;
    let dead = "select n_dead_tup as n from pg_stat_user_tables where relname = 'jobs'";
    assert!(db.count(dead).await < 500, "{} dead rows", db.count(dead).await);
    assert!(blocks(&db, worker).await <= fresh + 20, "a claim is as small as at the start");
}
