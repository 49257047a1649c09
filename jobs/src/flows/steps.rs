//! How a workflow goes from step to step, and back.

use std::collections::HashMap;

use diesel::sql_types::{Array, Bool, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    locked::Flow,
    planned::{Planned, put, read},
    settle::report,
};
use crate::{cancel::cancel_all, enqueue::Row};

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Integer)]
    place: i32,
    #[diesel(sql_type = Array<Text>)]
    needs: Vec<String>,
    #[diesel(sql_type = Jsonb)]
    job: Value,
    #[diesel(sql_type = Nullable<Jsonb>)]
    undo: Option<Value>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    job_id: Option<Uuid>,
    #[diesel(sql_type = Text)]
    state: String,
    /// What its job says; the same as `state` if nothing has happened since.
    #[diesel(sql_type = Text)]
    now: String,
    #[diesel(sql_type = Bool)]
    compensates: bool,
}

/// The steps as their jobs are: one snapshot over the three tables, in which every job is on exactly one side. A job that is
/// nowhere was thrown away by somebody, or shed with its day of history before anybody looked.
async fn load(conn: &mut Conn, flow: Uuid) -> QueryResult<Vec<Step>> {
    waybill_schema::sql(
        "select name, place, needs, job, undo, job_id, state, (job ->> 'compensates')::boolean as compensates,
             case when state in ('live', 'dead') then coalesce(
                 (select 'live' from jobs where id = s.job_id),
                 (select case when undo then 'live' else 'dead' end from dead_letters where id = s.job_id),
                 (select case when h.state = 'done' then 'done' else 'cancelled' end
                  from job_history h where id = s.job_id order by finished_at desc limit 1),
                 'cancelled')
             when state = 'undoing' then coalesce(
                 (select 'undoing' from jobs where id = s.undo_job_id),
                 (select 'undoing' from dead_letters where id = s.undo_job_id),
                 -- By its kind it ends as `cancelled`, as all compensations do. Discarded, by whomever, it has undone nothing.
                 (select case when h.state = 'done' or h.undo and h.state = 'cancelled' then 'undone' else 'not_undone' end
                  from job_history h where id = s.undo_job_id order by finished_at desc limit 1),
                 'not_undone')
             else state end as now
         from flow_steps s where flow_id = $1 order by place",
    )
    .bind::<SqlUuid, _>(flow)
    .load(conn)
    .await
}

/// Writes down what has happened, with the results of what is done.
async fn note(conn: &mut Conn, flow: Uuid, steps: &mut [Step]) -> QueryResult<()> {
    let changed: Vec<_> = steps.iter().filter(|step| step.state != step.now).collect();
    if changed.is_empty() {
        return Ok(());
    }
    waybill_schema::sql(
        "update flow_steps s
         set state = t.now,
             result = case when t.now = 'done' then (select h.result from job_history h
                 where h.id = s.job_id order by finished_at desc limit 1) else s.result end
         from unnest($2, $3) as t(name, now)
         where s.flow_id = $1 and s.name = t.name",
    )
    .bind::<SqlUuid, _>(flow)
    .bind::<Array<Text>, _>(changed.iter().map(|step| step.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(changed.iter().map(|step| step.now.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    for step in steps {
        step.state.clone_from(&step.now);
    }
    Ok(())
}

/// Brings a workflow as far as it can go now.
pub(super) async fn advance(conn: &mut Conn, mut flow: Flow) -> QueryResult<Vec<String>> {
    let mut queues = Vec::new();
    let mut steps = load(conn, flow.id).await?;
    note(conn, flow.id, &mut steps).await?;
    if steps.iter().any(|step| step.state == "dead") {
        queues.extend(flow.tell_dead(conn).await?);
    }
    if flow.state == "running" {
        let done = steps.iter().all(|step| step.state == "done");
        // Its job may be over before anybody has seen that the last step is.
        if !done {
            flow.heed_job(conn).await?;
        }
        let gives_up = |step: &Step| match step.state.as_str() {
            "cancelled" => true,
            "dead" => flow.on_dead_step == "compensate",
            _ => false,
        };
        if flow.cancel.is_none() && !steps.iter().any(gives_up) {
            queues.extend(go_on(conn, &flow, &steps).await?);
            if done {
                let report = report(conn, flow.id).await?;
                queues.extend(flow.end(conn, "done", &report).await?);
            }
            return Ok(queues);
        }
        turn_back(conn, &flow, &steps).await?;
        flow.state = "undoing".to_owned();
        // Those of its jobs that waited are over by now.
        steps = load(conn, flow.id).await?;
        note(conn, flow.id, &mut steps).await?;
    }
    queues.extend(undo(conn, &flow, &steps).await?);
    Ok(queues)
}

/// Enqueues the steps that have all they need.
async fn go_on(conn: &mut Conn, flow: &Flow, steps: &[Step]) -> QueryResult<Vec<String>> {
    let states: HashMap<&str, &str> =
        steps.iter().map(|step| (step.name.as_str(), step.state.as_str())).collect();
    let ready = steps.iter().filter(|step| {
        step.state == "waiting" && step.needs.iter().all(|need| states.get(need.as_str()) == Some(&"done"))
    });
    let mut rows: Vec<Row> = Vec::new();
    for step in ready {
        rows.push(read(step.job.clone())?.row(&flow.common(), Some(&step.name)));
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    put(conn, &rows).await?;
    waybill_schema::sql(
        "update flow_steps s set state = 'live', job_id = t.job_id
         from unnest($2, $3) as t(name, job_id)
         where s.flow_id = $1 and s.name = t.name and s.state = 'waiting'",
    )
    .bind::<SqlUuid, _>(flow.id)
    .bind::<Array<Text>, _>(rows.iter().filter_map(|row| row.step.as_deref()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.queue).collect())
}

/// No step starts any more, and those that run are asked to end.
async fn turn_back(conn: &mut Conn, flow: &Flow, steps: &[Step]) -> QueryResult<()> {
    waybill_schema::sql(
        "with turned as (update flows set state = 'undoing' where id = $1)
         update flow_steps set state = 'skipped' where flow_id = $1 and state = 'waiting'",
    )
    .bind::<SqlUuid, _>(flow.id)
    .execute(conn)
    .await?;
    let live: Vec<Uuid> =
        steps.iter().filter(|step| step.state == "live").filter_map(|step| step.job_id).collect();
    cancel_all(conn, &live, "flow", &reason(flow)).await?;
    Ok(())
}

fn reason(flow: &Flow) -> String {
    let said = flow.cancel.as_ref().and_then(|cancel| cancel["reason"].as_str());
    said.map_or_else(|| "another step of its workflow failed".to_owned(), ToOwned::to_owned)
}

/// Undoes the last step that is done and not undone, one at a time; with none left the workflow is over.
async fn undo(conn: &mut Conn, flow: &Flow, steps: &[Step]) -> QueryResult<Vec<String>> {
    if steps.iter().any(|step| matches!(step.state.as_str(), "live" | "undoing")) {
        return Ok(Vec::new());
    }
    let last = steps
        .iter()
        .filter(|step| step.state == "done" && (step.undo.is_some() || step.compensates))
        .max_by_key(|step| step.place);
    let Some(step) = last else {
        let state = if flow.cancel.is_some() { "cancelled" } else { "failed" };
        let report = report(conn, flow.id).await?;
        return Ok(flow.end(conn, state, &report).await?.into_iter().collect());
    };
    let planned: Planned = read(step.undo.clone().unwrap_or_else(|| step.job.clone()))?;
    let row = planned.row(&flow.common(), Some(&step.name));
    let (id, queue) = (row.id, row.queue.clone());
    put(conn, &[row]).await?;
    if step.undo.is_none() {
        // The same job as the step's, run by its kind's compensation.
        waybill_schema::sql("update jobs set undo = true, cancel = $2 where id = $1")
            .bind::<SqlUuid, _>(id)
            .bind::<Jsonb, _>(json!({ "by": "flow", "reason": reason(flow) }))
            .execute(conn)
            .await?;
    }
    waybill_schema::sql(
        "update flow_steps set state = 'undoing', undo_job_id = $3
         where flow_id = $1 and name = $2 and state = 'done'",
    )
    .bind::<SqlUuid, _>(flow.id)
    .bind::<Text, _>(&step.name)
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .await?;
    Ok(vec![queue])
}
