use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_jobs::{
    kinds::list,
    logs,
    status::{self, JobView},
};

use super::{
    dto::{JobDto, LogLineDto},
    single,
    watch::{self, Jobs as WatchedJobs},
};
use crate::{
    app::Tag,
    auth::{Caller, Scope},
    error::{ApiError, ApiResult},
    http::{Accepted, Page, PageRequest},
    state::AppState,
    watch::Events,
};

/// `/v1/jobs`.
pub struct Jobs;

#[OpenApi(prefix_path = "/v1/jobs", tag = "Tag::Jobs")]
impl Jobs {
    /// How a job is doing
    ///
    /// For the user it works for, for administrators and keys with `system:read`; 404 for everybody else.
    #[oai(path = "/:id", method = "get", operation_id = "getJob")]
    async fn get(&self, caller: Caller, state: Data<&AppState>, id: Path<Uuid>) -> ApiResult<Json<JobDto>> {
        let (job, everything) = readable(&state, &caller, id.0).await?;
        Ok(Json(JobDto::new(job, everything)?))
    }

    /// A job's moves, as they happen
    ///
    /// Server-sent events: `event: job`, `data:` the job, and `event: log`, `data:` a line of its log. Begins with the lines that the
    /// client has not seen and the job as it is, goes on with every line and every change of state, attempt and progress, and ends
    /// when it is done, cancelled, discarded or dead. A comment comes every 15 seconds. 503 when the process has too many open
    /// streams: poll instead.
    #[oai(path = "/:id/events", method = "get", operation_id = "streamJob")]
    async fn events(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// Browsers send it when they connect again: the lines go on behind the last one seen, and one that has seen the end gets
        /// 204.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> ApiResult<Events<WatchedJobs>> {
        let (job, everything) = readable(&state, &caller, id.0).await?;
        let mut conn = state.conn().await?;
        let last = last_event_id.0.as_deref();
        watch::events(&state.job_hub, &state.pool, &mut conn, job, last, everything).await
    }

    /// What a job has logged
    ///
    /// The lines that its handler wrote, the oldest first; a job keeps its first 1,000. For those who may read the job.
    #[oai(path = "/:id/logs", method = "get", operation_id = "getJobLogs")]
    async fn logs(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Lines of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<LogLineDto>>> {
        let page = PageRequest::<i64>::parse(cursor.0.as_deref(), limit.0)?;
        readable(&state, &caller, id.0).await?;
        let after = page.after.unwrap_or_default();
        let lines = logs::lines(&mut *state.conn().await?, id.0, after, page.fetch()).await?;
        Ok(Json(page.page(lines, |line| line.seq, LogLineDto::from)))
    }

    /// Cancel a job of one's own
    ///
    /// For the user it works for, where its kind allows it: imports do, a checkout is cancelled through its order. One that waits
    /// is over at once; one that runs is asked to end, and what it has done so far stays unless its kind undoes it. 409 for one
    /// that is over.
    #[oai(path = "/:id/cancel", method = "post", operation_id = "cancelOwnJob")]
    async fn cancel(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Accepted<JobDto>> {
        let (job, _) = readable(&state, &caller, id.0).await?;
        let own = caller.user_id().is_some_and(|user| job.owner_id == Some(user));
        if !own {
            caller.require(Scope::SystemWrite)?;
        }
        if !list::find(&job.kind).is_some_and(|kind| kind.owner_cancels) {
            return Err(ApiError::forbidden(format!(
                "jobs of the kind {} are not cancelled by their owners",
                job.kind
            )));
        }
        let actor = if own { "owner".to_owned() } else { caller.actor() };
        single::cancel(&state, id.0, &actor, "").await?;
        let (job, everything) = readable(&state, &caller, id.0).await?;
        Ok(Accepted { location: format!("/v1/jobs/{}", id.0), body: JobDto::new(job, everything)? })
    }
}

/// The job if the caller may see it, and whether all of it.
async fn readable(state: &AppState, caller: &Caller, id: Uuid) -> ApiResult<(JobView, bool)> {
    let everything = caller.may(Scope::SystemRead);
    let mut conn = state.conn().await?;
    let job = match caller.user_id() {
        _ if everything => status::find(&mut conn, id).await?,
        Some(user_id) => status::find_for_owner(&mut conn, user_id, id).await?,
        None => {
            caller.require(Scope::SystemRead)?;
            None
        }
    };
    Ok((job.ok_or_else(|| ApiError::not_found("job"))?, everything))
}
