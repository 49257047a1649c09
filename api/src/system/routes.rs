use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_jobs::{kinds::list, status};
use waybill_schema::{
    Conn, checks,
    system::{actions, controls, load, pauses, workers},
};

use super::{
    control_dto::{ActionDto, KindDto, KindList, OutboxDto, SystemDto, TopicDto},
    dto::Report,
    queue_dto::{Overview, Parts, QueueDto},
    workers::workers_of,
};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead},
    error::{ApiError, ApiResult},
    http::{Page, PageRequest},
    state::AppState,
};

/// `/v1/admin/system`: what can be seen.
pub struct System;

#[OpenApi(prefix_path = "/v1/admin/system", tag = "Tag::AdminSystem")]
impl System {
    /// The system at a glance
    ///
    /// Which requests are admitted and which refused because too much work waits, as the process that answers measures it.
    #[allow(clippy::unused_async, reason = "what a handler is")]
    #[oai(path = "/", method = "get", operation_id = "getSystem")]
    async fn system(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<SystemDto>> {
        Ok(Json(SystemDto::new(&state.load)))
    }

    /// Does everything hold?
    ///
    /// Asks the database what must be true at any moment (stock adds up, money was taken once, nothing is oversold), and
    /// what is left to do. All of one moment; it reads whole tables, so ask now and then, not every second. The schedule
    /// `check-invariants` asks every hour and keeps the answer.
    #[oai(path = "/checks", method = "get", operation_id = "getChecks")]
    async fn checks(&self, _caller: Allowed<SystemRead>, state: Data<&AppState>) -> ApiResult<Json<Report>> {
        let mut conn = state.conn().await?;
        Ok(Json(Report::new(checks::run(&mut conn, state.config.housekeeping.stuck_after).await?)))
    }

    /// Queues and workers
    #[oai(path = "/queues", method = "get", operation_id = "getQueues")]
    async fn queues(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<Overview>> {
        let mut conn = state.conn().await?;
        Ok(Json(Overview {
            queues: queues(&mut conn).await?,
            outbox_pending: workers::outbox_pending(&mut conn).await?,
            workers: workers_of(&mut conn).await?,
        }))
    }

    /// Kinds of jobs
    #[oai(path = "/kinds", method = "get", operation_id = "getKinds")]
    async fn kinds(&self, _caller: Allowed<SystemRead>, state: Data<&AppState>) -> ApiResult<Json<KindList>> {
        let mut conn = state.conn().await?;
        let running = pauses::running_by_kind(&mut conn).await?;
        let mut said: BTreeMap<String, controls::KindControl> =
            controls::kinds(&mut conn).await?.into_iter().map(|row| (row.kind.clone(), row)).collect();
        let names: BTreeSet<String> =
            list::ALL.iter().map(|info| info.kind.to_owned()).chain(said.keys().cloned()).collect();
        let kinds = names.iter().map(|kind| {
            let running = running.get(kind).copied().unwrap_or_default();
            KindDto::new(kind, list::find(kind), said.remove(kind), running)
        });
        Ok(Json(KindList { data: kinds.collect() }))
    }

    /// A kind of jobs
    #[oai(path = "/kinds/:kind", method = "get", operation_id = "getKind")]
    async fn kind(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        kind: Path<String>,
    ) -> ApiResult<Json<KindDto>> {
        let mut conn = state.conn().await?;
        known_kind(&mut conn, &kind.0).await?;
        Ok(Json(kind_of(&mut conn, &kind.0).await?))
    }

    /// The outbox
    ///
    /// Events that are written and not handed on yet, by topic.
    #[oai(path = "/outbox", method = "get", operation_id = "getOutbox")]
    async fn outbox(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<OutboxDto>> {
        let rows = workers::outbox(&mut *state.conn().await?).await?;
        Ok(Json(OutboxDto { data: rows.into_iter().map(TopicDto::from).collect() }))
    }

    /// Who changed what
    ///
    /// Every change that an operator made at run time, the newest first; kept for a year.
    #[oai(path = "/actions", method = "get", operation_id = "listActions")]
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    async fn actions(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only those made by this one: `admin:<id>` or `api_key:<id>`.
        actor: Query<Option<String>>,
        /// Only this, such as `queue.pause`, or, such as `queue`, everything of an area.
        action: Query<Option<String>>,
        /// Only those to this: a queue, a kind, a job's id, a schedule.
        target: Query<Option<String>>,
        /// Only those made at this time (RFC 3339) or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those made before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<ActionDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let filter = actions::Filter {
            actor: actor.0,
            action: action.0,
            target: target.0,
            since: since.0,
            until: until.0,
        };
        let rows = actions::list(&mut *state.conn().await?, &filter, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, ActionDto::from)))
    }
}

/// Every queue of the moment.
pub(super) async fn queues(conn: &mut Conn) -> ApiResult<Vec<QueueDto>> {
    Ok(QueueDto::all(Parts {
        counts: status::counts(conn).await?,
        ended: load::ended(conn).await?,
        serving: workers::serving(conn).await?,
        held: load::held(conn).await?,
        controls: controls::queues(conn).await?,
        places: controls::places(conn).await?,
    }))
}

/// 404 for a kind that nobody has heard of.
pub(super) async fn known_kind(conn: &mut Conn, kind: &str) -> ApiResult<()> {
    if list::find(kind).is_none() && !workers::knows_kind(conn, kind).await? {
        return Err(ApiError::not_found("kind"));
    }
    Ok(())
}

/// A kind of the moment.
pub(super) async fn kind_of(conn: &mut Conn, kind: &str) -> ApiResult<KindDto> {
    let said = controls::kind(conn, kind).await?;
    let running = pauses::running_by_kind(conn).await?.remove(kind).unwrap_or_default();
    Ok(KindDto::new(kind, list::find(kind), said, running))
}
