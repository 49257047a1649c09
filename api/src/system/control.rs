//! What operators change while everything runs. Each change is a row that every claim reads, so it counts for all workers at
//! once, and is recorded in the transaction that makes it.

use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use serde_json::{Value, json};
use waybill_jobs::queues;
use waybill_schema::{
    Conn,
    system::{
        actions,
        controls::{self, Limits},
        workers,
    },
};

use super::{
    control_dto::{ConcurrencyBody, KindDto, ReasonBody},
    queue_dto::{LimitsDto, QueueDto},
    routes,
};
use crate::{
    app::Tag,
    auth::{Allowed, Caller, SystemRead, SystemWrite},
    error::{ApiError, ApiResult},
    http::Body,
    state::AppState,
};

/// `/v1/admin/system`: what can be changed.
pub struct Control;

/// What a change does to its target.
enum Change {
    Pause(String),
    Resume,
    Limits(Limits),
    Concurrency(ConcurrencyBody),
}

#[OpenApi(prefix_path = "/v1/admin/system", tag = "Tag::AdminSystem")]
impl Control {
    /// A queue
    #[oai(path = "/queues/:queue", method = "get", operation_id = "getQueue")]
    async fn queue(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        queue: Path<String>,
    ) -> ApiResult<Json<QueueDto>> {
        let mut conn = state.conn().await?;
        known_queue(&mut conn, &queue.0).await?;
        find(&mut conn, &queue.0).await
    }

    /// Pause a queue
    ///
    /// Nothing more is claimed from it, by any worker; what runs goes on, and jobs are still accepted. It is drained when `dry`
    /// is true. Pausing a paused queue changes nothing.
    #[oai(path = "/queues/:queue/pause", method = "post", operation_id = "pauseQueue")]
    async fn pause_queue(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        queue: Path<String>,
        body: Body<ReasonBody>,
    ) -> ApiResult<Json<QueueDto>> {
        let reason = body.0.reason.unwrap_or_default();
        change_queue(&state, &caller.0, &queue.0, Change::Pause(reason)).await
    }

    /// Resume a queue
    #[oai(path = "/queues/:queue/resume", method = "post", operation_id = "resumeQueue")]
    async fn resume_queue(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        queue: Path<String>,
    ) -> ApiResult<Json<QueueDto>> {
        let answer = change_queue(&state, &caller.0, &queue.0, Change::Resume).await?;
        state.notifier.hint(&queue.0);
        Ok(answer)
    }

    /// Set a queue's limits
    ///
    /// Over all workers, and all of them: what is left out is no longer limited. They count from the next claim on; what runs
    /// goes on.
    #[oai(path = "/queues/:queue/limits", method = "put", operation_id = "setQueueLimits")]
    async fn limits(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        queue: Path<String>,
        body: Body<LimitsDto>,
    ) -> ApiResult<Json<QueueDto>> {
        let limits = limits(&body.0)?;
        let answer = change_queue(&state, &caller.0, &queue.0, Change::Limits(limits)).await?;
        state.notifier.hint(&queue.0);
        Ok(answer)
    }

    /// Set how many jobs of a queue a worker runs at a time
    ///
    /// In one worker, or in each. Workers follow within about a second; with less, what runs goes on to its end. `places` of
    /// `getWorkers` shows what each was started with and has now.
    ///
    /// 404 for a queue or a worker that there is not; 422 for a worker that does not run the queue's jobs, and for the queue
    /// of a pipeline, which takes batches one after the other.
    #[oai(path = "/queues/:queue/concurrency", method = "put", operation_id = "setQueueConcurrency")]
    async fn concurrency(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        queue: Path<String>,
        body: Body<ConcurrencyBody>,
    ) -> ApiResult<Json<QueueDto>> {
        if queue.0.starts_with("events.") {
            let detail = "a pipeline takes its events in batches, one after the other: it has no places";
            return Err(ApiError::field("queue", "invalid", detail));
        }
        if let Some(id) = body.0.worker_id {
            match workers::runs_queue(&mut *state.conn().await?, id, &queue.0).await? {
                Some(true) => {}
                Some(false) => {
                    let detail = format!("runs no jobs of {}", queue.0);
                    return Err(ApiError::field("worker_id", "invalid", detail));
                }
                None => return Err(ApiError::not_found("worker")),
            }
        }
        change_queue(&state, &caller.0, &queue.0, Change::Concurrency(body.0)).await
    }

    /// Pause a kind
    ///
    /// None of its jobs is claimed, in whatever queue; what runs goes on, and jobs are still accepted.
    #[oai(path = "/kinds/:kind/pause", method = "post", operation_id = "pauseKind")]
    async fn pause_kind(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        kind: Path<String>,
        body: Body<ReasonBody>,
    ) -> ApiResult<Json<KindDto>> {
        let reason = body.0.reason.unwrap_or_default();
        change_kind(&state, &caller.0, &kind.0, Change::Pause(reason)).await
    }

    /// Resume a kind
    #[oai(path = "/kinds/:kind/resume", method = "post", operation_id = "resumeKind")]
    async fn resume_kind(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        kind: Path<String>,
    ) -> ApiResult<Json<KindDto>> {
        let answer = change_kind(&state, &caller.0, &kind.0, Change::Resume).await?;
        if let Some(queue) = &answer.0.queue {
            state.notifier.hint(queue);
        }
        Ok(answer)
    }
}

pub(super) async fn record(
    conn: &mut Conn,
    by: &Caller,
    action: &str,
    target: &str,
    detail: &Value,
) -> ApiResult<()> {
    Ok(actions::record(conn, &by.actor(), action, target, detail).await?)
}

async fn change_queue(
    state: &AppState,
    by: &Caller,
    queue: &str,
    change: Change,
) -> ApiResult<Json<QueueDto>> {
    let mut conn = state.conn().await?;
    known_queue(&mut conn, queue).await?;
    let actor = by.actor();
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let (changed, action, detail) = match &change {
                Change::Pause(reason) => {
                    let changed = controls::pause_queue(conn, queue, &actor, reason).await?;
                    (changed, "queue.pause", json!({ "reason": reason }))
                }
                Change::Resume => {
                    (controls::resume_queue(conn, queue, &actor).await?, "queue.resume", json!({}))
                }
                Change::Limits(limits) => {
                    controls::set_limits(conn, queue, limits, &actor).await?;
                    (true, "queue.limits", recorded(limits))
                }
                Change::Concurrency(ConcurrencyBody { places, worker_id }) => {
                    // It may have gone since it was looked for.
                    if !controls::set_places(conn, queue, *worker_id, *places, &actor).await? {
                        return Err(ApiError::not_found("worker"));
                    }
                    (true, "queue.concurrency", json!({ "places": places, "worker_id": worker_id }))
                }
            };
            if changed {
                record(conn, by, action, queue, &detail).await?;
            }
            Ok::<_, ApiError>(())
        })
        .await?;
    find(&mut conn, queue).await
}

async fn change_kind(state: &AppState, by: &Caller, kind: &str, change: Change) -> ApiResult<Json<KindDto>> {
    let mut conn = state.conn().await?;
    routes::known_kind(&mut conn, kind).await?;
    let actor = by.actor();
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let (changed, action, reason) = match &change {
                Change::Pause(reason) => {
                    (controls::pause_kind(conn, kind, &actor, reason).await?, "kind.pause", reason.as_str())
                }
                _ => (controls::resume_kind(conn, kind, &actor).await?, "kind.resume", ""),
            };
            if changed {
                record(conn, by, action, kind, &json!({ "reason": reason })).await?;
            }
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok(Json(routes::kind_of(&mut conn, kind).await?))
}

/// As the record of actions has it; what does not limit is left out.
fn recorded(limits: &Limits) -> Value {
    let rate = |rate: controls::Rate| json!({ "jobs": rate.jobs, "period_seconds": rate.period.as_secs_f64(), "burst": rate.burst });
    let said = [
        ("max_running", limits.max_running.map(Value::from)),
        ("max_per_key", limits.max_per_key.map(Value::from)),
        ("rate", limits.rate.map(rate)),
        ("key_rate", limits.key_rate.map(rate)),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    json!({ "limits": Value::Object(said.collect()) })
}

fn limits(body: &LimitsDto) -> ApiResult<Limits> {
    let rate =
        |name: &str, given: &Option<super::queue_dto::RateDto>| match given {
            None => Ok(None),
            Some(given) => given.rate().filter(|rate| !rate.period.is_zero()).map(Some).ok_or_else(|| {
                ApiError::field(format!("{name}.per_seconds"), "invalid", "must be more than 0")
            }),
        };
    Ok(Limits {
        max_running: body.max_running,
        max_per_key: body.max_per_key,
        rate: rate("rate", &body.rate)?,
        key_rate: rate("key_rate", &body.key_rate)?,
    })
}

/// 404 for a queue that nobody has heard of: a pause with a slip of the pen must not look as if it worked.
async fn known_queue(conn: &mut Conn, queue: &str) -> ApiResult<()> {
    let declared = queues::ALL.contains(&queue)
        || queue.strip_prefix("events.").is_some_and(|name| waybill_jobs::events::pipeline(name).is_some());
    if declared || workers::knows_queue(conn, queue).await? {
        Ok(())
    } else {
        Err(ApiError::not_found("queue"))
    }
}

async fn find(conn: &mut Conn, queue: &str) -> ApiResult<Json<QueueDto>> {
    let all = routes::queues(conn).await?;
    all.into_iter().find(|dto| dto.queue == queue).map(Json).ok_or_else(|| ApiError::not_found("queue"))
}
