//! Jobs made of events that were handled in the same moment.

use diesel::QueryResult;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

/// Removes those of `jobs`, made in the transaction that is open on `conn`, whose events have been handled; answers with how many.
///
/// To be a job twice is kept from an event by its job's id. But an insert that meets a job which is being completed waits for that, finds
/// the id free, and by its own snapshot, which is older, the event not handled: it would be a job once more, find that all is done, and
/// be in the history twice. A statement that begins after the insert sees what that one has waited for.
pub(super) async fn remove(conn: &mut Conn, jobs: &[Uuid]) -> QueryResult<usize> {
    if jobs.is_empty() {
        return Ok(0);
    }
    sql("delete from jobs j
         where j.id = any($1)
           and exists (select from inbox i
                       where i.pipeline = substr(j.kind, length('event.') + 1) and i.event_id = (j.payload ->> 'id')::uuid
                         and i.event_at = (j.payload ->> 'created_at')::timestamptz)")
    .bind::<Array<SqlUuid>, _>(jobs)
    .execute(conn)
    .await
}
