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
    let rows: Vec<Row> = waybill_schema::sql(
        "select id, claim from jobs where worker_id = $1 and state = 'running' and queue = any($2)",
    )
    .bind::<SqlUuid, _>(worker)
    .bind::<Array<Text>, _>(queues)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.claim)).collect())
}
