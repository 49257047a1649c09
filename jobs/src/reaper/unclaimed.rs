use diesel::QueryResult;
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

/// Gives running jobs that no row of `job_claims` names a row of their own; answers with how many.
///
/// There are none: a claim writes both in one statement, and its row goes when all of its jobs have ended. But a job whose row
/// went too early would be nobody's, and would run for ever in the books. So somebody looks, with one pass over the table.
pub async fn name_unclaimed(conn: &mut Conn) -> QueryResult<usize> {
    // The trigger `jobs_claimed` writes the row, as it does for workers of an older version.
    waybill_schema::sql(
        "update jobs set state = state
         where state = 'running' and ctid = any (array(
             select j.ctid from jobs j
             where j.state = 'running'
               and not exists (select from job_claims c where c.id = j.claim_batch and j.id = any (c.ids))
             limit 1000 for no key update skip locked))",
    )
    .execute(conn)
    .await
}
