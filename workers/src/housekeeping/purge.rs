//! Rows that nobody can need any more.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use waybill_jobs::{Failure, JobContext};
use waybill_schema::{Conn, sql};

/// Rows per statement: a few milliseconds of locks.
const BATCH: i64 = 1_000;

/// Name in the report, and the statement that removes at most `$1` rows.
pub(super) const STATEMENTS: &[(&str, &str)] = &[
    (
        "idempotency_keys_removed",
        "delete from idempotency_keys where ctid = any(array(
             select ctid from idempotency_keys where expires_at < now() limit $1 for update skip locked))",
    ),
    (
        "carts_expired",
        "update carts set status = 'expired', version = version + 1, updated_at = now() where id = any(array(
             select id from carts where status = 'open' and expires_at < now() limit $1 for update skip locked))",
    ),
    (
        // A day of grace: the answer to a late use of a token should say that it is too old rather than unknown.
        "refresh_tokens_removed",
        "delete from refresh_tokens where ctid = any(array(
             select ctid from refresh_tokens where expires_at < now() - interval '1 day' limit $1
             for update skip locked))",
    ),
    (
        "sessions_removed",
        "delete from sessions where id = any(array(
             select id from sessions where expires_at < now() - interval '1 day' limit $1 for update skip locked))",
    ),
    (
        "user_tokens_removed",
        "delete from user_tokens where ctid = any(array(
             select ctid from user_tokens where expires_at < now() - interval '1 day' limit $1
             for update skip locked))",
    ),
];

/// Repeats a statement until it finds nothing, each time in a transaction of its own; returns the rows it touched.
pub(super) async fn in_batches(
    conn: &mut Conn,
    cx: &JobContext,
    statement: &'static str,
) -> Result<usize, Failure> {
    let mut touched = 0;
    loop {
        let rows = sql(statement).bind::<BigInt, _>(BATCH).execute(conn).await?;
        touched += rows;
        if rows == 0 || cx.cancelled.is_cancelled() {
            return Ok(touched);
        }
    }
}
