//! What operators, and owners, do to one job, and why it is refused.

use diesel_async::AsyncConnection;
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{
    cancel::{self, Cancelled},
    status,
};
use waybill_schema::{
    imports,
    system::{
        actions,
        jobs::Found,
        obstacles::{Obstacle, Why},
    },
};

use super::{
    bulk,
    operate::{Action, Wish},
};
use crate::{
    error::{ApiError, ApiResult, codes},
    state::AppState,
};

/// Retries or discards one job, or says why it cannot be done; answers with the id to look at.
pub async fn change(state: &AppState, id: Uuid, wish: Wish<'_>) -> ApiResult<Uuid> {
    let mut conn = state.conn().await?;
    let done = (*conn)
        .transaction(async |conn| {
            let job = status::find(conn, id).await?.ok_or_else(unknown)?;
            let found = [Found { id, state: job.state.clone() }];
            let done = wish.apply(conn, &found).await?;
            if done.changed == 0 {
                return Err(refused(wish.action, &job.state, done.obstacles.first()));
            }
            let fresh = done.touched.first().map(|touched| touched.id).filter(|fresh| *fresh != id);
            let detail =
                json!({ "kind": job.kind, "state": job.state, "new_job_id": fresh, "force": wish.force });
            actions::record(conn, wish.actor, wish.action.name(), &id.to_string(), &detail).await?;
            Ok(done)
        })
        .await?;
    if wish.action == Action::Retry {
        bulk::hint(state, &done.touched);
    }
    Ok(done.touched.first().map_or(id, |touched| touched.id))
}

/// Cancels one job, for whoever may, and records it.
pub async fn cancel(state: &AppState, id: Uuid, actor: &str, reason: &str) -> ApiResult<()> {
    let wish = Wish { action: Action::Cancel, actor, reason, force: false };
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn| {
            let found = [Found { id, state: String::new() }];
            // Asking again is no mistake: the answer says how it stands.
            let obstacle =
                wish.obstacles(conn, &found).await?.into_iter().find(|o| o.why != Why::CancelAsked);
            if let Some(obstacle) = obstacle {
                return Err(refused(Action::Cancel, &obstacle.state, Some(&obstacle)));
            }
            match cancel::cancel(conn, id, actor, reason).await? {
                Cancelled::Unknown => Err(unknown()),
                Cancelled::NotLive(over) => Err(refused(Action::Cancel, &over, None)),
                Cancelled::UndoesStep => Err(undoes_step(None)),
                became @ (Cancelled::Done | Cancelled::Undoing | Cancelled::Asked) => {
                    imports::run::close(conn, &[id]).await?;
                    let detail = json!({ "reason": reason, "became": became });
                    actions::record(conn, actor, Action::Cancel.name(), &id.to_string(), &detail).await?;
                    Ok(())
                }
            }
        })
        .await
}

/// Why nothing was done. Without an obstacle it is the state, or the job has moved in this very moment.
fn refused(action: Action, state: &str, obstacle: Option<&Obstacle>) -> ApiError {
    let conflict = |detail: String| ApiError::conflict(codes::ILLEGAL_MOVE, detail).with("state", state);
    let why = obstacle.map_or(Why::State, |obstacle| obstacle.why);
    let flow = obstacle.and_then(|obstacle| obstacle.flow_id);
    match why {
        Why::Erased => conflict("the job's arguments were erased".to_owned()),
        Why::FlowOver => {
            let flow = flow.unwrap_or_default();
            conflict(format!(
                "the job is a step of the workflow {flow}, which is over or turns back: what it would do has been undone around it"
            ))
            .with("flow_id", flow.to_string())
        }
        Why::SlotTaken => {
            let holder = obstacle.and_then(|obstacle| obstacle.holder).unwrap_or_default();
            conflict(format!(
                "the job {holder} has its unique slot: wait until that is over, or retry with force"
            ))
            .with("holder", holder.to_string())
        }
        Why::UndoesStep => undoes_step(flow),
        Why::OrderUnderWay => {
            let order = obstacle.and_then(|obstacle| obstacle.correlation_id).unwrap_or_default();
            conflict(format!(
                "the order {order} is under way, and goes on whatever becomes of this job: without one it is given another"
            ))
            .with("order_id", order.to_string())
        }
        Why::State | Why::CancelAsked => conflict(match (action, state) {
            (Action::Retry, "queued" | "running" | "scheduled") => {
                format!("the job is {state}: it will run, or runs")
            }
            (Action::Discard, "running") => "the job runs: cancel it".to_owned(),
            _ => format!("the job is {state}"),
        }),
    }
}

fn undoes_step(flow: Option<Uuid>) -> ApiError {
    let detail = "the job undoes a workflow's step, which was given up: it can be discarded, and then the step stays as it is";
    let error = ApiError::conflict(codes::ILLEGAL_MOVE, detail);
    match flow {
        Some(flow) => error.with("flow_id", flow.to_string()),
        None => error,
    }
}

/// 404.
pub fn unknown() -> ApiError {
    ApiError::not_found("job")
}
