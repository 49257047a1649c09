use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection as _;
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;
use waybill_jobs::{
    Enqueue, Job as _, enqueue_with, events,
    events_lane::{lag, replay},
    kinds::ReplayEvents,
};
use waybill_schema::{Conn, system::actions};

use super::dto::{NewReplay, PipelineDto, PipelineList, ReplayCount, counted, pipeline};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::{ApiError, ApiResult},
    http::{Accepted, Body},
    jobs::{accepted, dto::JobDto},
    state::AppState,
};

/// `/v1/admin/pipelines`.
pub struct Pipelines;

#[OpenApi(prefix_path = "/v1/admin/pipelines", tag = "Tag::AdminSystem")]
impl Pipelines {
    /// Pipelines, and how far each is behind
    #[oai(path = "/", method = "get", operation_id = "listPipelines")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<PipelineList>> {
        let names: Vec<&str> = events::PIPELINES.iter().map(|spec| spec.name).collect();
        let rows = lag(&mut *state.conn().await?, &names).await?;
        Ok(Json(PipelineList { data: rows.into_iter().map(PipelineDto::from).collect() }))
    }

    /// How many events a replay would look at
    #[oai(path = "/:name/replays/count", method = "get", operation_id = "countReplay")]
    async fn count(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        name: Path<String>,
        /// Only this topic.
        topic: Query<Option<String>>,
        /// Created from this on.
        since: Query<DateTime<Utc>>,
        /// Created before this; now by default.
        until: Query<Option<DateTime<Utc>>>,
    ) -> ApiResult<Json<ReplayCount>> {
        let wanted = NewReplay { topics: topic.0.map(|topic| vec![topic]), since: since.0, until: until.0 };
        let job = wanted.parse(pipeline(&name.0)?)?;
        let events = replay::count(&mut *state.conn().await?, &counted(job)).await?;
        Ok(Json(ReplayCount { events }))
    }

    /// Give a pipeline events of the past again
    ///
    /// A job does it, in steps; its progress counts them. Events that the pipeline has handled come to it again, in their
    /// old order and under their old ids; what is still on its way is left alone. What a pipeline does once by a key of its
    /// own (the mail of an order, the delivery of an event to an endpoint) is not done again.
    #[oai(path = "/:name/replays", method = "post", operation_id = "replayEvents")]
    async fn replay(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
        body: Body<NewReplay>,
    ) -> ApiResult<Accepted<JobDto>> {
        let job = body.0.parse(pipeline(&name.0)?)?;
        let options = Enqueue { owner_id: caller.0.user_id(), ..Enqueue::default() };
        let mut conn = state.conn().await?;
        let actor = caller.0.actor();
        let id = (*conn)
            .transaction(async |conn: &mut Conn| {
                let id = enqueue_with(conn, &job, options).await?;
                let detail =
                    json!({ "job_id": id, "topics": job.topics, "since": job.since, "until": job.until });
                actions::record(conn, &actor, "events.replay", &job.pipeline, &detail).await?;
                Ok::<_, ApiError>(id)
            })
            .await?;
        state.notifier.hint(ReplayEvents::QUEUE);
        tracing::info!(job_id = %id, pipeline = job.pipeline, since = %job.since, until = %job.until, "replay asked for");
        accepted(&mut conn, id).await
    }
}
