//! Bulk changes: counted first, then made in pieces, each a transaction with its record.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use poem_openapi::Object;
use serde_json::{Value, json};
use waybill_schema::{
    Conn, schedules,
    system::{actions, jobs::Found, obstacles::Why, rework::Touched},
};

use super::operate::{Action, Wish, count};
use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Jobs of one transaction: tens of milliseconds of locks.
const PIECE: usize = 500;
/// Jobs of one request when nobody says, and at most.
const DEFAULT_LIMIT: i64 = 1_000;
const MAX_LIMIT: i64 = 10_000;

/// Jobs that a bulk change left alone.
#[derive(Debug, Object)]
#[oai(rename = "BulkSkipped")]
pub struct Skipped {
    /// What was in the way: `state` (it runs, or is over), `erased` (no arguments are left), `flow_over` (a step of a workflow
    /// that is over or turns back), `slot_taken` (another job has its unique slot), `undoes_step` (it undoes a workflow's
    /// step), `cancel_asked` (cancelled before), `order_under_way` (its order goes on without it), `moved` (it went elsewhere
    /// meanwhile).
    pub reason: String,
    /// How many.
    pub jobs: i64,
}

/// What a bulk change did, or would do.
#[derive(Debug, Object)]
#[oai(rename = "BulkResult")]
pub struct BulkResult {
    /// Whether it was only counted.
    pub dry_run: bool,
    /// Jobs found, up to the limit.
    pub matched: i64,
    /// Those of them that nothing is in the way of: what is changed, or would be.
    pub changeable: i64,
    /// Whether the limit cut the list: ask again with `next_cursor` for the rest.
    pub more: bool,
    /// Where the rest begins.
    pub next_cursor: Option<String>,
    /// Jobs changed.
    pub changed: i64,
    /// Jobs that were, or would be, left alone, by reason.
    pub skipped: Vec<Skipped>,
    /// Only what came before this was looked at: `until` of the filter, or else the time of this request by the database's
    /// clock. As the filter's `until` it keeps the change that follows a count from what has come since.
    pub until: DateTime<Utc>,
}

/// The limit of a request: 1 to 10,000.
pub fn limit(given: Option<i64>) -> ApiResult<i64> {
    let limit = given.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::field("limit", "invalid", format!("must be from 1 to {MAX_LIMIT}")))
    }
}

/// Before which time to look: what the filter says, or now.
pub async fn until(conn: &mut Conn, given: Option<DateTime<Utc>>) -> ApiResult<DateTime<Utc>> {
    match given {
        Some(until) => Ok(until),
        None => Ok(schedules::now(conn).await?),
    }
}

/// A bulk change that was asked for.
pub struct Order<'a> {
    /// What to do.
    pub wish: Wish<'a>,
    /// Whether only to count.
    pub dry_run: bool,
    /// Before which time what was found came.
    pub until: DateTime<Utc>,
    /// By which filter, for the record.
    pub by: Value,
}

/// What a filter found for one request.
pub struct Batch {
    found: Vec<Found>,
    next_cursor: Option<String>,
}

impl Batch {
    /// Of one more than the limit, which tells whether there is more. `cursor` is the place behind a row.
    pub fn new<R>(
        mut rows: Vec<R>,
        limit: i64,
        cursor: impl Fn(&R) -> String,
        found: impl Fn(R) -> Found,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Self { found: rows.into_iter().map(found).collect(), next_cursor }
    }
}

/// Does it to what was found. If a piece fails, the problem says in `changed` how many were changed before: they stay so.
pub async fn run(
    state: &AppState,
    conn: &mut Conn,
    batch: Batch,
    order: &Order<'_>,
) -> ApiResult<BulkResult> {
    let Batch { found, next_cursor } = batch;
    let mut skipped: BTreeMap<Why, i64> = BTreeMap::new();
    let (mut changed, mut moved) = (0, 0);
    for piece in found.chunks(PIECE) {
        if order.dry_run {
            count(&order.wish.obstacles(conn, piece).await?, &mut skipped);
            continue;
        }
        let done = conn
            .transaction(async |conn| {
                let done = order.wish.apply(conn, piece).await?;
                if done.changed > 0 {
                    let detail = json!({ "changed": done.changed, "by": order.by, "reason": order.wish.reason,
                                         "force": order.wish.force });
                    let Wish { action, actor, .. } = order.wish;
                    actions::record(conn, actor, action.name(), "bulk", &detail).await?;
                }
                Ok::<_, ApiError>(done)
            })
            .await
            .map_err(|error| error.with("changed", changed))?;
        count(&done.obstacles, &mut skipped);
        let touched = size(done.changed);
        changed += touched;
        moved += size(piece.len()) - touched - size(done.obstacles.len());
        if order.wish.action == Action::Retry {
            hint(state, &done.touched);
        }
    }
    let matched = size(found.len());
    let mut reasons: Vec<Skipped> =
        skipped.into_iter().map(|(why, jobs)| Skipped { reason: why.as_str().to_owned(), jobs }).collect();
    if moved > 0 {
        reasons.push(Skipped { reason: "moved".to_owned(), jobs: moved });
    }
    Ok(BulkResult {
        dry_run: order.dry_run,
        matched,
        changeable: matched - reasons.iter().map(|skipped| skipped.jobs).sum::<i64>(),
        more: next_cursor.is_some(),
        next_cursor,
        changed,
        skipped: reasons,
        until: order.until,
    })
}

/// Tells the workers of queues that got jobs.
pub fn hint(state: &AppState, touched: &[Touched]) {
    let mut queues: Vec<&str> = touched.iter().map(|job| job.queue.as_str()).collect();
    queues.sort_unstable();
    queues.dedup();
    for queue in queues {
        state.notifier.hint(queue);
    }
}

fn size(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}
