//! Orders that no job carries any more.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

/// An order without a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Orphan {
    /// The order.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The person it is about: its customer, or for a guest the order itself.
    #[diesel(sql_type = SqlUuid)]
    pub subject_id: Uuid,
}

/// Lets go jobs of `kind` that wait for a dependency while the deadline of their order's reservation has passed: giving the stock
/// back needs nobody. Those on the way back have given it back, and wait on. Answers with how many, at most `limit`.
pub async fn let_go_expired(conn: &mut Conn, kind: &str, limit: i64) -> QueryResult<usize> {
    sql("update jobs set hold = null
         where ctid = any (array(
             select j.ctid from jobs j join orders o on o.id = j.correlation_id
             where j.hold = any (array(select 'needs:' || name from dependencies)) and j.kind = $1 and o.status = 'pending'
               and o.step in ('reserved', 'authorized') and o.reserved_until < now()
             limit $2 for no key update of j skip locked))")
    .bind::<Text, _>(kind)
    .bind::<BigInt, _>(limit)
    .execute(conn)
    .await
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
) -> QueryResult<Vec<Orphan>> {
    let candidates: Vec<Orphan> =
        sql("select o.id, coalesce(o.customer_id, o.id) as subject_id from orders o
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
    sql("select o.id, o.subject_id from unnest($1, $4) as o(id, subject_id)
         where not exists (select 1 from jobs j where j.correlation_id = o.id and j.kind = $2)
           and (select count(*) from dead_letters d where d.correlation_id = o.id and d.kind = $2) < $3")
    .bind::<Array<SqlUuid>, _>(candidates.iter().map(|found| found.id).collect::<Vec<_>>())
    .bind::<Text, _>(kind)
    .bind::<BigInt, _>(max_dead)
    .bind::<Array<SqlUuid>, _>(candidates.iter().map(|found| found.subject_id).collect::<Vec<_>>())
    .load(conn)
    .await
}
