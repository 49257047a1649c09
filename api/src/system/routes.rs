use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_jobs::status;
use waybill_schema::{
    checks,
    system::{
        dead_letters::{self, Filter},
        workers,
    },
    users::UserRole,
};

use super::dto::{DeadLetterDto, Overview, QueueDto, Report, WorkerDto};
use crate::{
    app::Tag,
    auth::{Allowed, SignedIn, SystemRead, User},
    error::{ApiError, ApiResult},
    http::{Accepted, NoContent, Page, PageRequest},
    jobs::dto::JobDto,
    state::AppState,
};

/// `/v1/admin/system` and `/v1/admin/dead-letters`.
pub struct System;

#[OpenApi(prefix_path = "/v1/admin", tag = "Tag::AdminSystem")]
impl System {
    /// Does everything hold?
    ///
    /// Asks the database what must be true at any moment (stock adds up, money was taken once, nothing is oversold), and
    /// what is left to do. All of one moment; it reads whole tables, so ask now and then, not every second.
    #[oai(path = "/system/checks", method = "get", operation_id = "getChecks")]
    async fn checks(&self, _caller: Allowed<SystemRead>, state: Data<&AppState>) -> ApiResult<Json<Report>> {
        let mut conn = state.conn().await?;
        Ok(Json(Report::new(checks::run(&mut conn).await?)))
    }

    /// Queues and workers
    #[oai(path = "/system/queues", method = "get", operation_id = "getQueues")]
    async fn queues(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<Overview>> {
        let mut conn = state.conn().await?;
        let counts = status::counts(&mut conn).await?;
        let rows = workers::list(&mut conn).await?;
        Ok(Json(Overview {
            queues: QueueDto::all(counts),
            outbox_pending: workers::outbox_pending(&mut conn).await?,
            workers: rows.into_iter().map(WorkerDto::from).collect(),
        }))
    }

    /// Dead letters
    ///
    /// Jobs whose attempts are used up, or that cannot be read; the newest first. They are kept until somebody decides.
    #[oai(path = "/dead-letters", method = "get", operation_id = "listDeadLetters")]
    async fn dead_letters(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only of this kind, such as `mail.send`.
        kind: Query<Option<String>>,
        /// Only of this queue.
        queue: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<DeadLetterDto>>> {
        let page = PageRequest::<(DateTime<Utc>, Uuid)>::parse(cursor.0.as_deref(), limit.0)?;
        let filter = Filter { kind: kind.0, queue: queue.0, after: page.after };
        let mut conn = state.conn().await?;
        let rows = dead_letters::list(&mut conn, &filter, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| (row.died_at, row.id), DeadLetterDto::from)))
    }

    /// A dead letter
    #[oai(path = "/dead-letters/:id", method = "get", operation_id = "getDeadLetter")]
    async fn dead_letter(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<DeadLetterDto>> {
        let mut conn = state.conn().await?;
        let row = dead_letters::find(&mut conn, id.0).await?;
        row.map(|row| Json(row.into())).ok_or_else(unknown)
    }

    /// Queue a dead letter again
    ///
    /// With all its attempts, and its history. For administrators in person.
    #[oai(path = "/dead-letters/:id/retry", method = "post", operation_id = "retryDeadLetter")]
    async fn retry(
        &self,
        user: SignedIn,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Accepted<JobDto>> {
        administrator(&user.0)?;
        let mut conn = state.conn().await?;
        if !status::retry_dead(&mut conn, id.0).await? {
            return Err(unknown());
        }
        tracing::info!(job_id = %id.0, user_id = %user.0.id, "dead letter queued again");
        let job = status::find(&mut conn, id.0).await?.ok_or_else(unknown)?;
        state.notifier.hint(&job.queue);
        Ok(Accepted { location: format!("/v1/jobs/{}", id.0), body: JobDto::new(job, true)? })
    }

    /// Discard a dead letter
    ///
    /// It goes into the history; nothing runs. For administrators in person.
    #[oai(path = "/dead-letters/:id/discard", method = "post", operation_id = "discardDeadLetter")]
    async fn discard(&self, user: SignedIn, state: Data<&AppState>, id: Path<Uuid>) -> ApiResult<NoContent> {
        administrator(&user.0)?;
        let mut conn = state.conn().await?;
        if !dead_letters::discard(&mut conn, id.0, &format!("admin:{}", user.0.id)).await? {
            return Err(unknown());
        }
        tracing::info!(job_id = %id.0, user_id = %user.0.id, "dead letter discarded");
        Ok(NoContent)
    }
}

fn administrator(user: &User) -> ApiResult<()> {
    if user.role == UserRole::Admin {
        Ok(())
    } else {
        Err(ApiError::forbidden("this is for administrators in person"))
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("dead letter")
}
