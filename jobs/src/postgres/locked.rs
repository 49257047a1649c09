//! Rows that somebody else has locked.

use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Array<SqlUuid>)]
    ids: Vec<Uuid>,
}

/// Those of `jobs` that cannot be ended now, because somebody else has their rows locked, or their slots. The others are locked for the
/// rest of the transaction. It waits for nobody.
pub(crate) async fn locked(conn: &mut Conn, jobs: &[Uuid]) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(
        "with free as materialized (
             select id, unique_key from jobs where id = any($1) for update skip locked),
         slots as materialized (
             select u.job_id from job_uniques u
             where u.key = any (array(select unique_key from free where unique_key is not null)) and u.job_id = any($1)
             for update skip locked)
         select coalesce(array_agg(j.id), '{}') as ids
         from jobs j
         where j.id = any($1)
           and (j.id <> all (array(select id from free))
                or j.unique_key is not null
                   and exists (select from job_uniques u where u.key = j.unique_key and u.job_id = j.id
                                 and u.job_id <> all (array(select job_id from slots))))",
    )
    .bind::<Array<SqlUuid>, _>(jobs)
    .get_result(conn)
    .await
    .map(|locked: Locked| locked.ids)
}
