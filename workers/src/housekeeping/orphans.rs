//! Files that no row names.
//!
//! An upload is stored before the row that names it commits, so that no row names a file that is not there. A process that is
//! killed in between leaves a file that nobody knows, and the writers of an import's parts may leave some as it is removed.

use std::time::{Duration, SystemTime};

use diesel::QueryableByName;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome};
use waybill_platform::files::Files;
use waybill_schema::{Conn, sql};

use super::Stores;

/// Where files of imports are: `imports/<id>.csv` is what was uploaded, below `imports/<id>/` are its parts.
const FOLDER: &str = "imports";
/// No request takes so long from its file to its row.
const REST: Duration = Duration::from_hours(24);
/// Files whose imports are asked for in one statement.
const BATCH: usize = 500;

pub(super) async fn run(stores: &Stores, cx: &JobContext) -> JobResult {
    let Some(files) = &stores.files else { return Ok(Outcome::done()) };
    let before = SystemTime::from(cx.now()) - REST;
    let mut batches = files.stored_before(FOLDER, before)?.try_chunks(BATCH).boxed();
    let mut removed = 0;
    while let Some(keys) = batches.try_next().await.map_err(|broken| broken.1)? {
        // Asked for after the files were found: whoever has stored one has long committed, or never will.
        let unknown = unknown(&mut *cx.pool.get().await?, &keys).await?;
        removed += remove(files, keys, &unknown).await?;
        if cx.cancelled.is_cancelled() {
            return Ok(Outcome::Snooze { after: Duration::ZERO, reason: "interrupted".to_owned() });
        }
    }
    if removed > 0 {
        tracing::warn!(
            removed,
            "files that nothing names were removed: a process was killed as it took them"
        );
    }
    Ok(Outcome::Done(Some(json!({ "removed": removed }))))
}

async fn remove(files: &Files, keys: Vec<String>, unknown: &[Uuid]) -> Result<usize, Failure> {
    let mut removed = 0;
    for key in keys {
        if import_of(&key).is_some_and(|id| unknown.contains(&id)) {
            files.delete(&key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The import that a file is of; none of what somebody else has put there.
fn import_of(key: &str) -> Option<Uuid> {
    let name = key.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let id = name.split_once('/').map(|(folder, _)| folder).or_else(|| name.strip_suffix(".csv"))?;
    id.parse().ok()
}

#[derive(QueryableByName)]
struct Unknown {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Those of the imports that there are not.
async fn unknown(conn: &mut Conn, keys: &[String]) -> Result<Vec<Uuid>, Failure> {
    let ids: Vec<Uuid> = keys.iter().filter_map(|key| import_of(key)).collect();
    let rows: Vec<Unknown> = sql("select distinct id from unnest($1) as t(id)
         where not exists (select from imports i where i.id = t.id)")
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
