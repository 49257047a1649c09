//! Bulk changes: counted first, then made in pieces, each a transaction with its record.

use diesel_async::AsyncConnection;
use poem_openapi::Object;
use serde_json::{Value, json};
use waybill_schema::{
    Conn,
    system::{actions, jobs::Found, rework::Touched},
};

use super::operate::{self, Action};
use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Jobs of one transaction: tens of milliseconds of locks.
const PIECE: usize = 500;
/// Jobs of one request when nobody says, and at most.
const DEFAULT_LIMIT: i64 = 1_000;
const MAX_LIMIT: i64 = 10_000;

/// What a bulk change did, or would do.
#[derive(Debug, Object)]
#[oai(rename = "BulkResult")]
pub struct BulkResult {
    /// Whether it was only counted.
    pub dry_run: bool,
    /// Jobs found, up to the limit.
    pub matched: i64,
    /// Whether the limit cut the list: ask again for the rest.
    pub more: bool,
    /// Jobs changed. Fewer than found where some were in a state that the action leaves alone, or moved meanwhile.
    pub changed: i64,
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

/// A bulk change that was asked for.
pub struct Order<'a> {
    /// What to do.
    pub action: Action,
    /// To how many at most.
    pub limit: i64,
    /// Whether only to count.
    pub dry_run: bool,
    /// Who asked.
    pub actor: &'a str,
    /// By which filter, for the record.
    pub by: Value,
}

/// Does it to what was found, which may be one more than the limit to tell whether there is more.
pub async fn run(
    state: &AppState,
    conn: &mut Conn,
    mut found: Vec<Found>,
    order: Order<'_>,
) -> ApiResult<BulkResult> {
    let Order { action, limit, dry_run, actor, by } = order;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let mut changed = 0;
    if !dry_run {
        for piece in found.chunks(PIECE) {
            let done = conn
                .transaction(async |conn| {
                    let done = operate::apply(conn, action, piece, actor, "in bulk").await?;
                    let target = match piece {
                        [one] => one.id.to_string(),
                        _ => "bulk".to_owned(),
                    };
                    let detail = json!({ "changed": done.changed, "by": by });
                    if done.changed > 0 {
                        actions::record(conn, actor, action.name(), &target, &detail).await?;
                    }
                    Ok::<_, ApiError>(done)
                })
                .await?;
            changed += done.changed;
            if action == Action::Retry {
                hint(state, &done.touched);
            }
        }
    }
    Ok(BulkResult { dry_run, matched: count(found.len()), more, changed: count(changed) })
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

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}
