use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use waybill_schema::schedules::{self, manage, spec::Spec};

use super::{
    change,
    dto::{RunDto, ScheduleBody, ScheduleDetail, ScheduleDto, ScheduleList},
};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::ApiResult,
    http::{Accepted, Body, Created, NoContent, Reply},
    jobs::{accepted, dto::JobDto},
    state::AppState,
};

/// Times and runs shown.
const NEXT_RUNS: usize = 5;
const LAST_RUNS: i64 = 20;

/// `/v1/admin/schedules`.
pub struct Schedules;

#[OpenApi(prefix_path = "/v1/admin/schedules", tag = "Tag::AdminSchedules")]
impl Schedules {
    /// Schedules
    ///
    /// Those of the program and those made here, by name.
    #[oai(path = "/", method = "get", operation_id = "listSchedules")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<ScheduleList>> {
        let rows = schedules::all(&mut *state.conn().await?).await?;
        Ok(Json(ScheduleList { data: rows.into_iter().map(ScheduleDto::from).collect() }))
    }

    /// A schedule, its next times and its last runs
    #[oai(path = "/:name", method = "get", operation_id = "getSchedule")]
    async fn get(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        name: Path<String>,
    ) -> ApiResult<Json<ScheduleDetail>> {
        let mut conn = state.conn().await?;
        let row = manage::find(&mut conn, &name.0).await?.ok_or_else(change::unknown)?;
        let now = schedules::now(&mut conn).await?;
        let next_runs = match row.next_at.filter(|_| !row.paused) {
            // What is due counts: it has not fired yet.
            Some(next) => match Spec::parse(&row.spec, &row.time_zone) {
                Ok(spec) => {
                    let mut times = vec![next];
                    times.extend(spec.upcoming(next.max(now), NEXT_RUNS - 1).unwrap_or_default());
                    times
                }
                Err(_) => Vec::new(),
            },
            None => Vec::new(),
        };
        let runs = manage::fires(&mut conn, &name.0, LAST_RUNS).await?;
        let runs = runs.into_iter().map(RunDto::from).collect();
        Ok(Json(ScheduleDetail { schedule: row.into(), next_runs, runs }))
    }

    /// Make or replace a schedule
    ///
    /// Under a name of your choice; whole, so what is left out gets its default, but for `paused`: one that rests goes on
    /// resting unless that is `false`. Its times count from now. A single time
    /// (`at`) rests after it has fired, and is removed when its run leaves the history. 409 for a schedule of the program.
    #[oai(path = "/:name", method = "put", operation_id = "putSchedule")]
    async fn put(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
        body: Body<ScheduleBody>,
    ) -> ApiResult<Reply<ScheduleDto>> {
        let mut conn = state.conn().await?;
        let paused = body.0.paused;
        let row = change::parse(&name.0, body.0, schedules::now(&mut conn).await?)?;
        let fresh = change::put(&mut conn, &caller.0.actor(), &row, paused).await?;
        let dto = ScheduleDto::from(manage::find(&mut conn, &name.0).await?.ok_or_else(change::unknown)?);
        Ok(if fresh {
            Reply::Created(Created { location: format!("/v1/admin/schedules/{}", dto.name), body: dto })
        } else {
            Reply::Found(dto)
        })
    }

    /// Remove a schedule
    ///
    /// With the record of its runs; jobs that it enqueued stay. 409 for a schedule of the program: pause it instead.
    #[oai(path = "/:name", method = "delete", operation_id = "deleteSchedule")]
    async fn delete(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
    ) -> ApiResult<NoContent> {
        change::delete(&mut *state.conn().await?, &caller.0.actor(), &name.0).await?;
        Ok(NoContent)
    }

    /// Rest a schedule
    #[oai(path = "/:name/pause", method = "post", operation_id = "pauseSchedule")]
    async fn pause(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
    ) -> ApiResult<Json<ScheduleDto>> {
        let mut conn = state.conn().await?;
        let row = change::set_paused(&mut conn, &caller.0.actor(), &name.0, true).await?;
        Ok(Json(row.into()))
    }

    /// Wake a schedule
    ///
    /// Its next time counts from now: those that passed while it rested are not made up for.
    #[oai(path = "/:name/resume", method = "post", operation_id = "resumeSchedule")]
    async fn resume(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
    ) -> ApiResult<Json<ScheduleDto>> {
        let mut conn = state.conn().await?;
        let row = change::set_paused(&mut conn, &caller.0.actor(), &name.0, false).await?;
        Ok(Json(row.into()))
    }

    /// Run a schedule's job now
    ///
    /// Beside its times, which stay as they are; also while it rests. 409 while its last job lives, unless it allows overlaps
    /// or `force` is true. Where only one job of its kind may be there, the answer is the one that is.
    #[oai(path = "/:name/run", method = "post", operation_id = "runSchedule")]
    async fn run(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
        /// Also beside a job that still lives.
        force: Query<Option<bool>>,
    ) -> ApiResult<Accepted<JobDto>> {
        let mut conn = state.conn().await?;
        let force = force.0.unwrap_or(false);
        let (id, queue) = change::run(&mut conn, &caller.0.actor(), &name.0, force).await?;
        state.notifier.hint(&queue);
        accepted(&mut conn, id).await
    }
}
