//! Orders that no job carries any more.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Pending orders past their deadline, or standing still for longer than `still_for` if none lies ahead, without a live job
/// of `kind` and with fewer than `max_dead` dead ones; locked until the transaction on `conn` ends, so that a job enqueued
/// in it is the only one.
pub async fn lock_orphans(
    conn: &mut Conn,
    kind: &str,
    still_for: Duration,
    max_dead: i64,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    let candidates: Vec<Found> = sql("select o.id from orders o
         where o.status = 'pending'
           and case when o.reserved_until > o.updated_at then o.reserved_until
                    else o.updated_at + make_interval(secs => $2) end < now()
           and not exists (select 1 from jobs j where j.correlation_id = o.id and j.kind = $1)
         order by o.id limit $3 for update of o skip locked")
    .bind::<Text, _>(kind)
    .bind::<Double, _>(still_for.as_secs_f64())
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    // A statement of its own: its snapshot is younger than the locks, so it sees the job that the one who had them before us
    // has enqueued.
    let orphans: Vec<Found> = sql("select o.id from unnest($1) as o(id)
         where not exists (select 1 from jobs j where j.correlation_id = o.id and j.kind = $2)
           and (select count(*) from dead_letters d where d.correlation_id = o.id and d.kind = $2) < $3")
    .bind::<Array<SqlUuid>, _>(candidates.iter().map(|found| found.id).collect::<Vec<_>>())
    .bind::<Text, _>(kind)
    .bind::<BigInt, _>(max_dead)
    .load(conn)
    .await?;
    Ok(orphans.into_iter().map(|found| found.id).collect())
}
