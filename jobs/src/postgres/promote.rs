//! From `scheduled` to `queued`, when the time has come.

use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    queue: Option<String>,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
    #[diesel(sql_type = Nullable<Double>)]
    wait: Option<f64>,
}

/// What a round of promotion found.
#[derive(Debug, Default)]
pub struct Promoted {
    /// The queues that got jobs.
    pub queues: Vec<String>,
    /// How long until the next scheduled job is due; `None` if there is none, zero if more are due now.
    pub next_in: Option<Duration>,
}

/// Jobs moved in one statement, so that a flood of them does not hold up the caller's other work.
const LIMIT: i64 = 2_000;

/// Queues the scheduled jobs that are due, of every queue. Any number of callers may do so at once.
pub async fn promote(conn: &mut Conn) -> QueryResult<Promoted> {
    let rows: Vec<Row> = waybill_schema::sql(
        "with moved as (
             update jobs set state = 'queued'
             where ctid = any (array(
                 select ctid from jobs
                 where not due and run_at <= now()
                 order by run_at limit $1 for update skip locked))
             returning queue)
         select queue, count(*) as jobs, null::float8 as wait from moved group by queue
         union all
         select null, 0, (select extract(epoch from run_at - clock_timestamp())::float8 from jobs
                          where not due and run_at > now() order by run_at limit 1)",
    )
    .bind::<BigInt, _>(LIMIT)
    .load(conn)
    .await?;
    let mut promoted = Promoted::default();
    let mut moved = 0;
    for row in rows {
        match row.queue {
            Some(queue) => {
                promoted.queues.push(queue);
                moved += row.jobs;
            }
            None => {
                promoted.next_in = row.wait.map(|wait| Duration::try_from_secs_f64(wait).unwrap_or_default());
            }
        }
    }
    if moved >= LIMIT {
        promoted.next_in = Some(Duration::ZERO);
    }
    Ok(promoted)
}
