use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{OpenApi, param::Query, payload::Json};
use uuid::Uuid;
use waybill_jobs::{kinds::list, status};
use waybill_schema::{
    Conn, checks,
    system::{actions, controls, load, outages, workers},
};

use super::{
    control_dto::{
        ActionDto, DependencyDto, DependencyList, KindDto, KindList, OutboxDto, SystemDto, TopicDto,
    },
    dto::Report,
    queue_dto::{Overview, Parts, QueueDto},
    worker_dto::{RunningDto, WorkerDto, WorkerList},
};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead},
    error::ApiResult,
    http::{Page, PageRequest},
    state::AppState,
};

/// Running jobs shown of one worker.
const RUNNING_SHOWN: i64 = 100;

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

    /// Kinds of jobs
    #[oai(path = "/kinds", method = "get", operation_id = "getKinds")]
    async fn kinds(&self, _caller: Allowed<SystemRead>, state: Data<&AppState>) -> ApiResult<Json<KindList>> {
        let mut conn = state.conn().await?;
        let mut said: BTreeMap<String, controls::KindControl> =
            controls::kinds(&mut conn).await?.into_iter().map(|row| (row.kind.clone(), row)).collect();
        let names: BTreeSet<String> =
            list::ALL.iter().map(|info| info.kind.to_owned()).chain(said.keys().cloned()).collect();
        let kinds = names.iter().map(|kind| KindDto::new(kind, list::find(kind), said.remove(kind)));
        Ok(Json(KindList { data: kinds.collect() }))
    }

    /// What jobs need from outside
    ///
    /// Those that were ever down. While one is, jobs that need it wait and spend no attempts, but one at a time that tries.
    #[oai(path = "/dependencies", method = "get", operation_id = "getDependencies")]
    async fn dependencies(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<DependencyList>> {
        let mut conn = state.conn().await?;
        let (rows, waiting) = (controls::dependencies(&mut conn).await?, outages::waiting(&mut conn).await?);
        let data = rows.into_iter().map(|row| DependencyDto::new(row, &waiting)).collect();
        Ok(Json(DependencyList { data }))
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
        held: load::held(conn).await?,
        controls: controls::queues(conn).await?,
        places: controls::places(conn).await?,
    }))
}

async fn workers_of(conn: &mut Conn) -> ApiResult<Vec<WorkerDto>> {
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
