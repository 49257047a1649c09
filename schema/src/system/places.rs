//! How many jobs of a queue run at a time in one worker, or in each.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Integer, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

/// How many jobs of a queue run at a time in a worker, where it is not as the worker was started.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Places {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// One worker, or `None` for all that have nothing of their own.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub worker_id: Option<Uuid>,
    /// Jobs at a time.
    #[diesel(sql_type = Integer)]
    pub places: i32,
    /// Who said so.
    #[diesel(sql_type = Text)]
    pub updated_by: String,
}

/// Every override. What was said to one worker goes with its row in `workers`.
pub async fn places(conn: &mut Conn) -> QueryResult<Vec<Places>> {
    sql("select queue, nullif(worker_id, '00000000-0000-0000-0000-000000000000'::uuid) as worker_id, places, updated_by
         from queue_places order by queue, worker_id")
    .load(conn)
    .await
}

/// Sets how many jobs of a queue run at a time, 0 to 10,000, in one worker or in all; `None` goes back to how they were
/// started. Workers follow within a second. What runs goes on, so less takes effect as jobs end. `false`, and nothing is
/// set, if there is no such worker.
pub async fn set_places(
    conn: &mut Conn,
    queue: &str,
    worker_id: Option<Uuid>,
    places: Option<i32>,
    actor: &str,
) -> QueryResult<bool> {
    let Some(places) = places else {
        sql("delete from queue_places where queue = $1 and worker_id = $2")
            .bind::<Text, _>(queue)
            .bind::<SqlUuid, _>(worker_id.unwrap_or_default())
            .execute(conn)
            .await?;
        return Ok(true);
    };
    // The worker's row is locked against its deletion, which takes this row along.
    let set = sql("insert into queue_places (queue, worker_id, places, updated_by)
         select $1, t.id, $3, $4
         from (select id from workers where id = $2 for key share) t
         union all
         select $1, $2, $3, $4 where $2 = '00000000-0000-0000-0000-000000000000'
         on conflict (queue, worker_id) do update
         set places = excluded.places, updated_at = clock_timestamp(), updated_by = excluded.updated_by")
    .bind::<Text, _>(queue)
    .bind::<SqlUuid, _>(worker_id.unwrap_or_default())
    .bind::<Integer, _>(places)
    .bind::<Text, _>(actor)
    .execute(conn)
    .await?;
    Ok(set == 1)
}
