//! Workers: what each is and runs, and quieting one of them.

use std::collections::HashMap;

use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use serde_json::json;
use uuid::Uuid;
use waybill_schema::{Conn, system::workers};

use super::{
    control::record,
    worker_dto::{RunningDto, WorkerDto, WorkerList},
};
use crate::{
    app::Tag,
    auth::{Allowed, Caller, SystemRead, SystemWrite},
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Running jobs shown of one worker.
const RUNNING_SHOWN: i64 = 100;

/// `/v1/admin/system/workers`.
pub struct Workers;

#[OpenApi(prefix_path = "/v1/admin/system", tag = "Tag::AdminSystem")]
impl Workers {
    /// Workers and what each runs
    #[oai(path = "/workers", method = "get", operation_id = "getWorkers")]
    async fn workers(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<WorkerList>> {
        let mut conn = state.conn().await?;
        Ok(Json(WorkerList { data: workers_of(&mut conn).await? }))
    }

    /// Quiet a worker
    ///
    /// It claims no more jobs and takes no more events, from about a second on; what it has in hand it brings to its end. It
    /// goes on to live, to watch over others and to hand events on. Once `dry` is true it may be stopped without
    /// interrupting anything. Others do the work meanwhile; if there are none, it waits.
    #[oai(path = "/workers/:id/quiet", method = "post", operation_id = "quietWorker")]
    async fn quiet_worker(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<WorkerDto>> {
        quiet(&state, &caller.0, id.0, true).await
    }

    /// Let a quiet worker work again
    #[oai(path = "/workers/:id/resume", method = "post", operation_id = "resumeWorker")]
    async fn resume_worker(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<WorkerDto>> {
        quiet(&state, &caller.0, id.0, false).await
    }
}

async fn quiet(state: &AppState, by: &Caller, id: Uuid, quiet: bool) -> ApiResult<Json<WorkerDto>> {
    let mut conn = state.conn().await?;
    let missing = || ApiError::not_found("worker");
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let changed = workers::set_quiet(conn, id, quiet, &by.actor()).await?.ok_or_else(missing)?;
            if changed {
                let action = if quiet { "worker.quiet" } else { "worker.resume" };
                record(conn, by, action, &id.to_string(), &json!({})).await?;
            }
            Ok::<_, ApiError>(())
        })
        .await?;
    let all = workers_of(&mut conn).await?;
    all.into_iter().find(|worker| worker.id == id).map(Json).ok_or_else(missing)
}

pub(super) async fn workers_of(conn: &mut Conn) -> ApiResult<Vec<WorkerDto>> {
    let rows = workers::list(conn).await?;
    let mut running: HashMap<Uuid, Vec<RunningDto>> = HashMap::new();
    for row in workers::running(conn, RUNNING_SHOWN).await? {
        running.entry(row.worker_id).or_default().push(row.into());
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let runs = running.remove(&row.id).unwrap_or_default();
            WorkerDto::new(row, runs)
        })
        .collect())
}
