//! Rows that nobody can need any more.

use diesel::sql_types::{BigInt, Integer};
use diesel_async::RunQueryDsl;
use waybill_jobs::{Failure, JobContext};
use waybill_schema::{Conn, imports, sql};

use super::HousekeepingDeps;

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
        "imports_closed",
        imports::run::CLOSE,
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

/// The same for rows that go by their age: the statement removes at most `$1` rows older than `$2` days.
pub(super) fn aged(deps: HousekeepingDeps) -> [(&'static str, &'static str, i32); 6] {
    [
        (
            "schedule_fires_removed",
            "delete from schedule_fires where ctid = any(array(
                 select ctid from schedule_fires where fired_at < now() - make_interval(days => $2) limit $1
                 for update skip locked))",
            deps.keep_fires_days,
        ),
        (
            // As long as the history of their jobs; their steps go with them.
            "flows_removed",
            "delete from flows where id = any(array(
                 select id from flows where finished_at < now() - make_interval(days => $2) limit $1
                 for update skip locked))",
            deps.keep_days,
        ),
        (
            // One-off schedules that have fired.
            "schedules_removed",
            "delete from schedules where name = any(array(
                 select name from schedules
                 where origin = 'api' and next_at is null and spec like 'at %'
                   and coalesce(last_at, updated_at) < now() - make_interval(days => $2) limit $1
                 for update skip locked))",
            deps.keep_days,
        ),
        (
            "operator_actions_removed",
            "delete from operator_actions where ctid = any(array(
                 select ctid from operator_actions where at < now() - make_interval(days => $2) limit $1
                 for update skip locked))",
            ACTIONS_DAYS,
        ),
        (
            // Their keys keep a replayed event from being mailed twice, so they stay as long as events do.
            "mails_removed",
            "delete from mails where ctid = any(array(
                 select ctid from mails where created_at < now() - make_interval(days => $2) and status <> 'queued'
                 limit $1 for update skip locked))",
            deps.keep_mails_days.max(deps.keep_days),
        ),
        (
            // So do these, and their attempts go with them.
            "deliveries_removed",
            "delete from webhook_deliveries where id = any(array(
                 select id from webhook_deliveries
                 where created_at < now() - make_interval(days => $2) and status <> 'queued'
                 limit $1 for update skip locked))",
            deps.keep_deliveries_days.max(deps.keep_days),
        ),
    ]
}

/// Days that operators' changes are kept: a year, whatever the history does.
const ACTIONS_DAYS: i32 = 365;

/// [`in_batches`] for rows that go by their age in days.
pub(super) async fn aged_in_batches(
    conn: &mut Conn,
    cx: &JobContext,
    statement: &'static str,
    days: i32,
) -> Result<usize, Failure> {
    let mut touched = 0;
    while !cx.cancelled.is_cancelled() {
        let rows = sql(statement).bind::<BigInt, _>(BATCH).bind::<Integer, _>(days).execute(conn).await?;
        touched += rows;
        if rows == 0 {
            break;
        }
    }
    Ok(touched)
}

/// Repeats a statement until it finds nothing, each time in a transaction of its own; returns the rows it touched.
pub(super) async fn in_batches(
    conn: &mut Conn,
    cx: &JobContext,
    statement: &'static str,
) -> Result<usize, Failure> {
    let mut touched = 0;
    while !cx.cancelled.is_cancelled() {
        let rows = sql(statement).bind::<BigInt, _>(BATCH).execute(conn).await?;
        touched += rows;
        if rows == 0 {
            break;
        }
    }
    Ok(touched)
}
