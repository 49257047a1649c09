//! Dead letters.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;
use waybill_schema::system::{
    dead_letters::{self, Filter, Place},
    jobs::Found,
};

use super::dto::DeadLetterDto;
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::{ApiError, ApiResult},
    http::{Accepted, Body, Cursor, NoContent, Page, PageRequest},
    jobs::{
        accepted,
        bulk::{self, Batch, BulkResult, Order},
        dto::JobDto,
        operate::{Action, Wish},
        single,
    },
    state::AppState,
};

/// `/v1/admin/dead-letters`.
pub struct DeadLetters;

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum DeadAction {
    /// Queue them again, with all their attempts.
    Retry,
    /// Put them into the history; nothing runs.
    Discard,
}

/// Which dead letters; what is left out does not filter.
#[derive(Debug, Default, Object)]
#[oai(rename = "DeadLetterFilter", deny_unknown_fields)]
pub struct DeadFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this queue.
    pub queue: Option<String>,
    /// Whose errors or reason contain this, in any case.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub error: Option<String>,
    /// Given up at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Given up before this.
    pub until: Option<DateTime<Utc>>,
}

/// A change of many dead letters.
#[derive(Debug, Object)]
#[oai(rename = "DeadLetterBulk", deny_unknown_fields)]
pub struct DeadBulk {
    /// What to do.
    pub action: DeadAction,
    /// With which; `{}` for all.
    pub filter: DeadFilter,
    /// At most so many, 1 to 10,000; 1,000 by default. The newest are taken first.
    pub limit: Option<i64>,
    /// `next_cursor` of the change before: goes on behind what that has looked at.
    pub cursor: Option<String>,
    /// Only count; `false` by default.
    pub dry_run: Option<bool>,
    /// Queues one again also beside another job that has its unique slot; `false` by default.
    pub force: Option<bool>,
}

#[OpenApi(prefix_path = "/v1/admin/dead-letters", tag = "Tag::AdminJobs")]
impl DeadLetters {
    /// Dead letters
    ///
    /// Jobs whose attempts are used up, or that cannot be read; the newest first. They are kept until somebody decides.
    #[oai(path = "/", method = "get", operation_id = "listDeadLetters")]
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only of this kind, such as `mail.send`.
        kind: Query<Option<String>>,
        /// Only of this queue.
        queue: Query<Option<String>>,
        /// Only those whose errors or reason contain this text, in any case.
        error: Query<Option<String>>,
        /// Only those given up at this time (RFC 3339) or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those given up before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<DeadLetterDto>>> {
        let page = PageRequest::<(DateTime<Utc>, Uuid)>::parse(cursor.0.as_deref(), limit.0)?;
        let filter = Filter {
            kind: kind.0,
            queue: queue.0,
            error: error.0.filter(|text| !text.is_empty()),
            since: since.0,
            until: until.0,
            after: page.after,
        };
        let mut conn = state.conn().await?;
        let rows = dead_letters::list(&mut conn, &filter, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| (row.died_at, row.id), DeadLetterDto::from)))
    }

    /// A dead letter
    #[oai(path = "/:id", method = "get", operation_id = "getDeadLetter")]
    async fn get(
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
    /// With all its attempts, and its history. 409 for a step of a workflow that is over or turns back (`flow_id`), and where
    /// another job has its unique slot (`holder`).
    #[oai(path = "/:id/retry", method = "post", operation_id = "retryDeadLetter")]
    async fn retry(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// Also beside another job that has its unique slot.
        force: Query<Option<bool>>,
    ) -> ApiResult<Accepted<JobDto>> {
        one(&state, Action::Retry, id.0, &caller.0.actor(), force.0.unwrap_or(false)).await?;
        accepted(&mut *state.conn().await?, id.0).await
    }

    /// Discard a dead letter
    ///
    /// It goes into the history; nothing runs.
    #[oai(path = "/:id/discard", method = "post", operation_id = "discardDeadLetter")]
    async fn discard(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<NoContent> {
        one(&state, Action::Discard, id.0, &caller.0.actor(), false).await?;
        Ok(NoContent)
    }

    /// Queue again or discard many dead letters
    ///
    /// Those that a filter finds, the newest first, up to a limit; `dry_run` only counts them. What is left alone, and why, is in
    /// `skipped`. A change is made in pieces of 500: if one fails, `changed` of the problem says how many were changed before.
    #[oai(path = "/bulk", method = "post", operation_id = "changeDeadLetters")]
    async fn bulk(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        body: Body<DeadBulk>,
    ) -> ApiResult<Json<BulkResult>> {
        let DeadBulk { action, filter, limit, cursor, dry_run, force } = body.0;
        let limit = bulk::limit(limit)?;
        let after = cursor.as_deref().map(Cursor::decode).transpose()?;
        let mut conn = state.conn().await?;
        let until = bulk::until(&mut conn, filter.until).await?;
        let by = json!({ "states": ["dead"], "kind": filter.kind, "queue": filter.queue, "error": filter.error,
                             "since": filter.since, "until": until });
        let filter = Filter {
            kind: filter.kind,
            queue: filter.queue,
            error: filter.error,
            since: filter.since,
            until: Some(until),
            after,
        };
        let action = match action {
            DeadAction::Retry => Action::Retry,
            DeadAction::Discard => Action::Discard,
        };
        let found = dead_letters::places(&mut conn, &filter, limit + 1).await?;
        let cursor = |place: &Place| Cursor::encode(&(place.died_at, place.id));
        let batch = Batch::new(found, limit, cursor, |place| dead(place.id));
        let (dry_run, actor) = (dry_run.unwrap_or(false), caller.0.actor());
        let wish = Wish { action, actor: &actor, reason: "in bulk", force: force.unwrap_or(false) };
        Ok(Json(bulk::run(&state, &mut conn, batch, &Order { wish, dry_run, until, by }).await?))
    }
}

fn dead(id: Uuid) -> Found {
    Found { id, state: "dead".to_owned() }
}

/// Does it to one; 404 if it is no dead letter (any more).
async fn one(state: &AppState, action: Action, id: Uuid, actor: &str, force: bool) -> ApiResult<()> {
    let letter = dead_letters::find(&mut *state.conn().await?, id).await?;
    letter.ok_or_else(unknown)?;
    single::change(state, id, Wish { action, actor, reason: "", force }).await?;
    Ok(())
}

fn unknown() -> ApiError {
    ApiError::not_found("dead letter")
}
