use serde_json::{Value, json};

use super::{
    Shell,
    bulk::{self, Change},
    item, list, more, object, segment,
};
use crate::args::{JobTarget, Jobs};

const PATH: &str = "/v1/admin/jobs";

pub async fn run(shell: &Shell, command: Jobs) -> anyhow::Result<bool> {
    match command {
        Jobs::List { mut filter, paging } => {
            let states = std::mem::take(&mut filter.state);
            let mut query = bulk::page(paging, filter.fields()?);
            if !states.is_empty() {
                query.push(("state", states.join(",")));
            }
            let answer = shell.client.get(PATH, &query).await?;
            shell.show(&answer, || {
                list(&answer["data"], &["id", "kind", "state", "attempt", "created_at", "run_at", "error"]);
                more(&answer);
            });
            Ok(true)
        }
        Jobs::Show { id } => {
            let job = shell.client.get(&format!("{PATH}/{}", segment(&id)?), &[]).await?;
            shell.show(&job, || {
                let fields = [
                    "id",
                    "kind",
                    "queue",
                    "state",
                    "attempt",
                    "max_attempts",
                    "priority",
                    "snoozes",
                    "run_at",
                    "created_at",
                    "started_at",
                    "finished_at",
                    "worker_id",
                    "owner_id",
                    "correlation_id",
                    "causation_id",
                    "flow_id",
                    "step",
                    "schedule",
                    "scheduled_for",
                    "arguments",
                    "progress",
                    "result",
                    "reason",
                ];
                item(&job, &fields);
                if job["failures"].as_array().is_some_and(|failures| !failures.is_empty()) {
                    crate::out!();
                    list(&job["failures"], &["attempt", "outcome", "started_at", "finished_at", "error"]);
                }
            });
            Ok(true)
        }
        Jobs::Logs { id } => {
            let path = format!("/v1/jobs/{}/logs", segment(&id)?);
            let mut query = vec![("limit", "100".to_owned())];
            let mut lines: Vec<Value> = Vec::new();
            // A job has a bounded number of lines, so the pages end.
            loop {
                let answer = shell.client.get(&path, &query).await?;
                lines.extend(answer["data"].as_array().cloned().unwrap_or_default());
                let Some(cursor) = answer["next_cursor"].as_str() else { break };
                query.truncate(1);
                query.push(("cursor", cursor.to_owned()));
            }
            let answer = json!({ "data": lines });
            shell.show(&answer, || list(&answer["data"], &["at", "attempt", "level", "line"]));
            Ok(true)
        }
        Jobs::Retry(target) => change(shell, "retry", target, None).await,
        Jobs::Cancel { target, reason } => change(shell, "cancel", target, reason).await,
        Jobs::Discard(target) => change(shell, "discard", target, None).await,
    }
}

async fn change(
    shell: &Shell,
    action: &str,
    target: JobTarget,
    reason: Option<String>,
) -> anyhow::Result<bool> {
    if let Some(id) = &target.id {
        let path = format!("{PATH}/{}/{action}", segment(id)?);
        let body = object([("reason", json!(reason))]);
        let job = match action {
            "cancel" => shell.client.post_json(&path, &body).await?,
            _ => shell.client.post(&path).await?,
        };
        let (now, state) =
            (job["id"].as_str().unwrap_or_default(), job["state"].as_str().unwrap_or_default());
        shell.say(&job, &format!("{now} is {state}"));
        return Ok(true);
    }
    anyhow::ensure!(reason.is_none(), "--reason goes into the history of one job: name its <ID>");
    let mut filter = target.filter;
    let states = std::mem::take(&mut filter.state);
    anyhow::ensure!(!states.is_empty(), "name a job, or a --state (and more) for a change in bulk");
    let mut filter = bulk::object_of(filter.fields()?);
    filter.insert("states".to_owned(), json!(states));
    bulk::run(shell, PATH, Change { action, things: "jobs", filter }, &target.bulk).await
}
