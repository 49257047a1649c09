//! What the database says a worker holds.

use std::collections::HashMap;

use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    claim: i64,
}

/// The running jobs of `queues` in the worker's name, with their claims.
pub async fn held(conn: &mut Conn, worker: Uuid, queues: &[String]) -> QueryResult<HashMap<Uuid, i64>> {
    let rows: Vec<Row> =
        waybill_schema::sql("select id, claim from running_jobs where worker_id = $1 and queue = any($2)")
            .bind::<SqlUuid, _>(worker)
            .bind::<Array<Text>, _>(queues)
            .load(conn)
            .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.claim)).collect())
}

/// Removes the worker's claims of which nothing runs any more and that nobody will remove: the answer of the claim was lost, or
/// of the statement that would have removed it. `open` are those that somebody still counts.
pub async fn forget_claims(conn: &mut Conn, worker: Uuid, open: &[i64]) -> QueryResult<usize> {
    waybill_schema::sql(
        "delete from job_claims c
         where worker_id = $1 and id <> all ($2) and made_at < clock_timestamp() - interval '10 seconds'
           and not exists (select from running_jobs j where j.claim_batch = c.id)",
    )
    .bind::<SqlUuid, _>(worker)
    .bind::<Array<BigInt>, _>(open)
    .execute(conn)
    .await
}
