//! Event jobs that are claimed in our name and that nobody here holds.

use diesel::QueryResult;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

/// Puts them back without charging the attempt. `held` are those in hand.
pub(crate) async fn strays(conn: &mut Conn, queue: &str, worker: Uuid, held: &[Uuid]) -> QueryResult<usize> {
    sql("update jobs set state = 'queued', worker_id = null, claimed_at = null, attempt = attempt - 1
         where worker_id = $1 and state = 'running' and queue = $2 and id <> all ($3)")
    .bind::<SqlUuid, _>(worker)
    .bind::<Text, _>(queue)
    .bind::<Array<SqlUuid>, _>(held)
    .execute(conn)
    .await
}
