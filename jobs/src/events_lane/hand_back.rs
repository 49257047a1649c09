//! Event jobs that are claimed in our name and that nobody here holds.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use crate::postgres::{PutBack, put_back};

#[derive(QueryableByName)]
struct Stray {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    claim: i64,
}

/// Puts them back without charging the attempt; one that was cancelled meanwhile ends. `held` are those in hand.
pub(crate) async fn strays(conn: &mut Conn, queue: &str, worker: Uuid, held: &[Uuid]) -> QueryResult<usize> {
    let strays: Vec<Stray> = sql("select id, claim from running_jobs
         where worker_id = $1 and queue = $2 and id <> all ($3)")
    .bind::<SqlUuid, _>(worker)
    .bind::<Text, _>(queue)
    .bind::<Array<SqlUuid>, _>(held)
    .load(conn)
    .await?;
    if strays.is_empty() {
        return Ok(0);
    }
    let back = |stray: &Stray| PutBack {
        id: stray.id,
        claim: stray.claim,
        delay: Duration::ZERO,
        refund: true,
        snooze: false,
        entry: None,
    };
    Ok(put_back(conn, &strays.iter().map(back).collect::<Vec<_>>()).await?.len())
}
