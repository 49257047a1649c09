//! The index anew, step by step.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, logs::Level, status};
use waybill_schema::search::{index::Over, scope};

use super::{engine::IndexEngine, refresh::refresh};
use crate::fail_point;

/// Products of one step: some 100 ms with Postgres' own index, so progress moves and a cancellation is heard.
const STEP: i64 = 500;

/// Where it stands.
struct Stand {
    after: Option<Uuid>,
    done: i64,
}

impl Stand {
    /// Where an earlier attempt stopped.
    fn of(progress: &Value) -> Self {
        let after = progress["after"].as_str().and_then(|text| text.parse().ok());
        Self { after, done: progress["done"].as_i64().unwrap_or_default() }
    }
}

pub(super) async fn run(engine: &dyn IndexEngine, category_id: Option<Uuid>, cx: &JobContext) -> JobResult {
    let (mut stand, total) = {
        let mut conn = cx.pool.get().await?;
        let stood = status::progress(&mut conn, cx.id).await?.unwrap_or_default();
        (Stand::of(&stood), scope::count(&mut conn, category_id).await?)
    };
    cx.log(Level::Info, format!("{} of {total} products are written", stand.done));
    let mut tenths = tenth(stand.done, total);
    while !cx.cancelled.is_cancelled() {
        let wanted = scope::next(&mut *cx.pool.get().await?, category_id, stand.after, STEP).await?;
        let Some(last) = wanted.last().copied() else {
            cx.log(Level::Info, format!("all {} products are written", stand.done));
            return Ok(Outcome::Done(Some(json!({ "products": stand.done }))));
        };
        let products = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        // A step that is done again after a crash writes the same, or newer, documents: nothing has to be undone.
        refresh(engine, &cx.pool, wanted, Over::Same).await?;
        stand = Stand { after: Some(last), done: stand.done + products };
        let progress = json!({ "after": last, "done": stand.done, "total": total.max(stand.done) });
        cx.progress(&mut *cx.pool.get().await?, &progress).await?;
        if tenth(stand.done, total) > tenths {
            tenths = tenth(stand.done, total);
            cx.log(Level::Info, format!("{} of {total} products are written", stand.done));
        }
        fail_point!("reindex.after_step");
    }
    Err(Failure::retryable("asked to stop"))
}

/// How many tenths are done: a line each.
fn tenth(done: i64, total: i64) -> i64 {
    done * 10 / total.max(1)
}
