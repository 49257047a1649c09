use chrono::Utc;
use serde_json::{Value, json};

use super::{Shell, item, list, more, object, segment};
use crate::{
    args::{FlowFilter, Flows, Paging},
    table,
    time::instant,
};

const PATH: &str = "/v1/admin/flows";

pub async fn run(shell: &Shell, command: Flows) -> anyhow::Result<bool> {
    match command {
        Flows::List { filter, paging } => {
            let answer = shell.client.get(PATH, &query(filter, paging)?).await?;
            shell.show(&answer, || {
                list(
                    &answer["data"],
                    &["id", "kind", "name", "state", "held", "created_at", "finished_at", "report"],
                );
                more(&answer);
            });
        }
        Flows::Show { id } => {
            let flow = shell.client.get(&format!("{PATH}/{}", segment(&id)?), &[]).await?;
            shell.show(&flow, || show(&flow));
        }
        Flows::Cancel { id, reason } => {
            let path = format!("{PATH}/{}/cancel", segment(&id)?);
            let flow = shell.client.post_json(&path, &object([("reason", json!(reason))])).await?;
            shell.say(&flow, &format!("{} is {}", table::cell(&flow["id"]), table::cell(&flow["state"])));
        }
    }
    Ok(true)
}

fn show(flow: &Value) {
    let fields = [
        "id",
        "kind",
        "name",
        "state",
        "progress.done",
        "progress.total",
        "jobs",
        "sealed",
        "cancelled_by",
        "cancel_reason",
        "correlation_id",
        "created_at",
        "finished_at",
    ];
    item(flow, &fields);
    if flow["steps"].as_array().is_some_and(|steps| !steps.is_empty()) {
        crate::out!();
        list(&flow["steps"], &["name", "needs", "state", "job_id", "undo_job_id", "result"]);
    }
    for letter in flow["held_by"].as_array().into_iter().flatten() {
        crate::out!("\nheld by the dead letter {}: dead retry or dead discard", table::cell(letter));
    }
}

fn query(filter: FlowFilter, paging: Paging) -> anyhow::Result<Vec<(&'static str, String)>> {
    let now = Utc::now();
    let states = Some(filter.state.join(",")).filter(|states| !states.is_empty());
    let given = [
        ("limit", Some(paging.limit.to_string())),
        ("cursor", paging.cursor),
        ("state", states),
        ("kind", filter.kind),
        ("name", filter.name),
        ("correlation_id", filter.correlation),
        ("owner_id", filter.owner),
        ("since", filter.since.map(|text| instant(&text, now)).transpose()?),
        ("until", filter.until.map(|text| instant(&text, now)).transpose()?),
        ("held", filter.held.then(|| "true".to_owned())),
    ];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
