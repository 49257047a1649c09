//! What a test has left undone.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use waybill_schema::{Conn, Pool};

use super::TestDatabase;

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Jobs that nobody has run, dead ones, events that nobody has handed on, and flows that are not over: (kind, state, number).
pub async fn leftovers(pool: &Pool) -> Vec<(String, String, i64)> {
    of(&mut pool.get().await.unwrap()).await
}

async fn of(conn: &mut Conn) -> Vec<(String, String, i64)> {
    let rows: Vec<Left> = waybill_schema::sql(
        "select kind, state, count(*) as n from jobs group by 1, 2
         union all select kind, 'dead', count(*) from dead_letters group by 1
         union all select 'event ' || topic, 'unsent', count(*) from outbox group by 1
         union all select 'flow ' || name, state, count(*) from flows where finished_at is null group by 1, 2
         order by 1, 2",
    )
    .load(conn)
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.kind, row.state, row.n)).collect()
}

/// Panics if jobs or events were forgotten, or jobs died.
pub async fn assert_no_leftovers(pool: &Pool) {
    let left = leftovers(pool).await;
    assert!(left.is_empty(), "jobs are left: {left:?}");
}

/// Fails its test when it goes out of scope and something is left; not one that fails anyway.
#[must_use = "it asks when it is dropped: bind it to a name, `_nothing_left`, not to `_`"]
pub struct NothingLeft {
    url: String,
}

impl TestDatabase {
    /// Asks at the end of the test, by [`leftovers`], whether anything is left. To be taken after the database, so that it is
    /// dropped before.
    pub fn nothing_left(&self) -> NothingLeft {
        NothingLeft { url: self.url().to_owned() }
    }
}

impl Drop for NothingLeft {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let url = self.url.clone();
        // Drop cannot wait in the test's runtime, which may have one thread only.
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { of(&mut AsyncPgConnection::establish(&url).await.unwrap()).await })
        });
        let left = asked.join().expect("the test's database answers");
        assert!(left.is_empty(), "jobs are left: {left:?}");
    }
}
