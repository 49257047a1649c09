//! Every batch and workflow, for operators.

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{
    Enum, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::flows::{self, Filter};
use waybill_schema::system::actions;

use super::dto::{FlowDto, FlowSummary};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::{ApiError, ApiResult, codes},
    http::{Accepted, Body, Page, PageRequest, names},
    jobs::admin::CancelBody,
    state::AppState,
};

/// `/v1/admin/flows`.
pub struct AdminFlows;

/// What a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum FlowKind {
    /// Any number of jobs, and what comes when all are over.
    Batch,
    /// Steps that need each other.
    Workflow,
}

/// The states of a flow.
const STATES: [&str; 5] = ["running", "undoing", "done", "failed", "cancelled"];

#[OpenApi(prefix_path = "/v1/admin/flows", tag = "Tag::AdminJobs")]
impl AdminFlows {
    /// Batches and workflows
    ///
    /// The newest first. They are kept as long as the history of their jobs.
    #[oai(path = "/", method = "get", operation_id = "listFlows")]
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only in these states, separated by commas: `running`, `undoing`, `done`, `failed`, `cancelled`.
        #[oai(name = "state")]
        states: Query<Option<String>>,
        /// Only batches, or only workflows.
        kind: Query<Option<FlowKind>>,
        /// Only of this name, such as `import`.
        name: Query<Option<String>>,
        /// Only of this order, import, ...
        correlation_id: Query<Option<Uuid>>,
        /// Only of this user.
        owner_id: Query<Option<Uuid>>,
        /// Only those started at this time (RFC 3339) or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those started before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// Only those that a dead letter holds up: somebody must decide.
        held: Query<Option<bool>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<FlowSummary>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let kind = kind.0.map(|kind| match kind {
            FlowKind::Batch => "batch".to_owned(),
            FlowKind::Workflow => "workflow".to_owned(),
        });
        let filter = Filter {
            states: names("state", states.0.as_deref(), &STATES)?,
            kind,
            name: name.0,
            correlation_id: correlation_id.0,
            owner_id: owner_id.0,
            since: since.0,
            until: until.0,
            held: held.0.unwrap_or(false),
        };
        let rows = flows::list(&mut *state.conn().await?, &filter, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, FlowSummary::from)))
    }

    /// A batch or workflow with its steps
    #[oai(path = "/:id", method = "get", operation_id = "getAnyFlow")]
    async fn get(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<FlowDto>> {
        let mut conn = state.conn().await?;
        let flow = flows::find(&mut conn, id.0).await?.ok_or_else(unknown)?;
        Ok(Json(FlowDto::load(&mut conn, flow, true).await?))
    }

    /// Cancel a batch or workflow
    ///
    /// Its waiting jobs are over, its running ones are asked to end, and no step of it starts any more. Steps that are done are
    /// undone, the last first: follow it at `Location`. Cancelling it again while it turns back changes nothing. 409 for one that is
    /// over.
    #[oai(path = "/:id/cancel", method = "post", operation_id = "cancelFlow")]
    async fn cancel(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<CancelBody>,
    ) -> ApiResult<Accepted<FlowDto>> {
        let (actor, reason) = (caller.0.actor(), body.0.reason.unwrap_or_default());
        let mut conn = state.conn().await?;
        (*conn)
            .transaction(async |conn| {
                if !flows::cancel(conn, id.0, &actor, &reason).await? {
                    let flow = flows::find(conn, id.0).await?.ok_or_else(unknown)?;
                    let error = ApiError::conflict(
                        codes::ILLEGAL_MOVE,
                        format!("the {} is {}", flow.kind, flow.state),
                    );
                    return Err(error.with("state", flow.state));
                }
                let detail = json!({ "reason": reason });
                actions::record(conn, &actor, "flow.cancel", &id.0.to_string(), &detail).await?;
                Ok(())
            })
            .await?;
        let flow = flows::find(&mut conn, id.0).await?.ok_or_else(unknown)?;
        let body = FlowDto::load(&mut conn, flow, true).await?;
        Ok(Accepted { location: format!("/v1/admin/flows/{}", id.0), body })
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("flow")
}
