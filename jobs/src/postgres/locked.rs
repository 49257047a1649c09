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

/// Those of `jobs` whose rows cannot be locked now, because somebody has them. It waits for nobody.
pub(super) async fn locked(conn: &mut Conn, jobs: &[Uuid]) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(
        "with free as materialized (select id from jobs where id = any($1) for update skip locked)
         select coalesce(array_agg(id), '{}') as ids from jobs
         where id = any($1) and id <> all (array(select id from free))",
    )
    .bind::<Array<SqlUuid>, _>(jobs)
    .get_result(conn)
    .await
    .map(|locked: Locked| locked.ids)
}
