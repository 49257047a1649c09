//! Every job, for operators.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::status;
use waybill_schema::system::jobs::{self, Filter, waits};

use super::{
    accepted,
    bulk::{self, Batch, BulkResult, Order},
    detail::JobDetail,
    dto::{JobDto, JobState, JobSummary},
    operate::{Action, Wish},
    single::{self, unknown},
};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::ApiResult,
    http::{Accepted, Body, Cursor, Page, PageRequest, names},
    state::AppState,
};

/// `/v1/admin/jobs`.
pub struct AdminJobs;

/// Which jobs; what is left out does not filter.
#[derive(Debug, Object)]
#[oai(rename = "JobFilter", deny_unknown_fields)]
pub struct JobFilter {
    /// In one of these states.
    #[oai(validator(min_items = 1, max_items = 7))]
    pub states: Vec<JobState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this order, import, ...
    pub correlation_id: Option<Uuid>,
    /// Of this user.
    pub owner_id: Option<Uuid>,
    /// Whose errors or reason contain this.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub error: Option<String>,
    /// Enqueued at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Enqueued before this.
    pub until: Option<DateTime<Utc>>,
}

/// A change of many jobs.
#[derive(Debug, Object)]
#[oai(rename = "JobBulk", deny_unknown_fields)]
pub struct JobBulk {
    /// What to do.
    pub action: Action,
    /// To which jobs.
    pub filter: JobFilter,
    /// Jobs at most, 1 to 10,000; 1,000 by default. The newest are taken first.
    pub limit: Option<i64>,
    /// `next_cursor` of the change before: goes on behind what that has looked at.
    pub cursor: Option<String>,
    /// Only count; `false` by default.
    pub dry_run: Option<bool>,
    /// Why, for the history of jobs that are cancelled; no personal data.
    #[oai(validator(max_length = 500))]
    pub reason: Option<String>,
    /// Retries a job also beside another that has its unique slot; `false` by default.
    pub force: Option<bool>,
}

/// Why.
#[derive(Debug, Default, Object)]
#[oai(rename = "CancelBody", deny_unknown_fields)]
pub struct CancelBody {
    /// For the job's history; no personal data.
    #[oai(validator(max_length = 500))]
    pub reason: Option<String>,
}

#[OpenApi(prefix_path = "/v1/admin/jobs", tag = "Tag::AdminJobs")]
impl AdminJobs {
    /// Jobs
    ///
    /// Waiting, running, finished and dead ones, the newest first. A filter that few jobs of a long history meet takes time:
    /// name a time, or an order, with it.
    #[oai(path = "/", method = "get", operation_id = "listJobs")]
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only in these states, separated by commas: `scheduled`, `queued`, `running`, `done`, `cancelled`, `discarded`,
        /// `dead`.
        #[oai(name = "state")]
        states: Query<Option<String>>,
        /// Only of this kind, such as `mail.send`.
        kind: Query<Option<String>>,
        /// Only of this queue.
        queue: Query<Option<String>>,
        /// Only of this order, import, ...
        correlation_id: Query<Option<Uuid>>,
        /// Only of this user.
        owner_id: Query<Option<Uuid>>,
        /// Only those whose errors or reason contain this text.
        error: Query<Option<String>>,
        /// Only those enqueued at this time (RFC 3339) or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those enqueued before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<JobSummary>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let filter = Filter {
            states: states_of(states.0.as_deref())?,
            kind: kind.0,
            queue: queue.0,
            correlation_id: correlation_id.0,
            owner_id: owner_id.0,
            error: error.0.filter(|text| !text.is_empty()),
            since: since.0,
            until: until.0,
        };
        let rows = jobs::list(&mut *state.conn().await?, &filter, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, JobSummary::from)))
    }

    /// A job with its arguments
    #[oai(path = "/:id", method = "get", operation_id = "getAnyJob")]
    async fn get(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<JobDetail>> {
        let mut conn = state.conn().await?;
        let job = status::find(&mut conn, id.0).await?.ok_or_else(unknown)?;
        let inside = jobs::inside(&mut conn, id.0).await?.ok_or_else(unknown)?;
        let waits_for = waits::waits_for(&mut conn, id.0).await?;
        Ok(Json(JobDetail::new(job, inside, waits_for)?))
    }

    /// Retry a job
    ///
    /// A dead one is queued again under its id, with all its attempts; one that waits for its time is made due; one that is
    /// done, cancelled or discarded is enqueued once more as a new job, at `Location`. 409 for one that is queued or runs, for a dead
    /// step of a workflow that is over or turns back (`flow_id`), and where another job has its unique slot (`holder`).
    #[oai(path = "/:id/retry", method = "post", operation_id = "retryJob")]
    async fn retry(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// Also beside another job that has its unique slot.
        force: Query<Option<bool>>,
    ) -> ApiResult<Accepted<JobDto>> {
        let (actor, force) = (caller.0.actor(), force.0.unwrap_or(false));
        let wish = Wish { action: Action::Retry, actor: &actor, reason: "", force };
        let touched = single::change(&state, id.0, wish).await?;
        accepted(&mut *state.conn().await?, touched).await
    }

    /// Cancel a job
    ///
    /// One that waits is over at once; one that runs is asked to end, and compensates if its kind can: follow it at `Location`.
    /// 409 for one that is over, that undoes a workflow's step, or whose order is under way: that goes on without it.
    #[oai(path = "/:id/cancel", method = "post", operation_id = "cancelJob")]
    async fn cancel(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<CancelBody>,
    ) -> ApiResult<Accepted<JobDto>> {
        let reason = body.0.reason.unwrap_or_default();
        single::cancel(&state, id.0, &caller.0.actor(), &reason).await?;
        accepted(&mut *state.conn().await?, id.0).await
    }

    /// Discard a job
    ///
    /// One that waits or is dead goes into the history, and nothing of it runs any more. 409 for one that runs (cancel it) or is
    /// over.
    #[oai(path = "/:id/discard", method = "post", operation_id = "discardJob")]
    async fn discard(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Accepted<JobDto>> {
        let actor = caller.0.actor();
        let wish = Wish { action: Action::Discard, actor: &actor, reason: "", force: false };
        let touched = single::change(&state, id.0, wish).await?;
        accepted(&mut *state.conn().await?, touched).await
    }

    /// Change many jobs
    ///
    /// Those that a filter finds, the newest first, up to a limit; `dry_run` only counts them. What is left alone, and why, is in
    /// `skipped`. A change is made in pieces of 500: if one fails, `changed` of the problem says how many were changed before.
    #[oai(path = "/bulk", method = "post", operation_id = "changeJobs")]
    async fn bulk(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        body: Body<JobBulk>,
    ) -> ApiResult<Json<BulkResult>> {
        let JobBulk { action, filter, limit, cursor, dry_run, reason, force } = body.0;
        let limit = bulk::limit(limit)?;
        let after = cursor.as_deref().map(Cursor::decode).transpose()?;
        let mut conn = state.conn().await?;
        let until = bulk::until(&mut conn, filter.until).await?;
        let states: Vec<String> = filter.states.iter().map(|state| state.name().to_owned()).collect();
        let by = json!({ "states": states, "kind": filter.kind, "queue": filter.queue, "error": filter.error,
                             "correlation_id": filter.correlation_id, "owner_id": filter.owner_id,
                             "since": filter.since, "until": until });
        let filter = Filter {
            states,
            kind: filter.kind,
            queue: filter.queue,
            correlation_id: filter.correlation_id,
            owner_id: filter.owner_id,
            error: filter.error,
            since: filter.since,
            until: Some(until),
        };
        let found = jobs::find_ids(&mut conn, &filter, after, limit + 1).await?;
        let batch = Batch::new(found, limit, |found| Cursor::encode(&found.id), |found| found);
        let (dry_run, actor) = (dry_run.unwrap_or(false), caller.0.actor());
        let (reason, force) = (reason.unwrap_or_else(|| "in bulk".to_owned()), force.unwrap_or(false));
        let wish = Wish { action, actor: &actor, reason: &reason, force };
        Ok(Json(bulk::run(&state, &mut conn, batch, &Order { wish, dry_run, until, by }).await?))
    }
}

fn states_of(given: Option<&str>) -> ApiResult<Vec<String>> {
    let known: Vec<_> = JobState::ALL.iter().map(|state| state.name()).collect();
    names("state", given, &known)
}
