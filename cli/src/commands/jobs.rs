use serde_json::{Value, json};

use super::{
    Shell,
    bulk::{self, Change},
    follow, item, list, more, object, segment,
};
use crate::{
    args::{JobTarget, Jobs},
    table,
};

const PATH: &str = "/v1/admin/jobs";

/// Heads of what a job waits for.
const WAITS: [&str; 5] = ["waits_for", "detail", "job_id", "until", "ahead"];

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
                list(
                    &answer["data"],
                    &["id", "kind", "queue", "state", "attempt", "created_at", "run_at", "error"],
                );
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
                    "cancel_asked",
                    "undo",
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
                    "partition_key",
                    "limit_key",
                    "unique_key",
                    "arguments",
                    "progress",
                    "result",
                    "reason",
                ];
                item(&job, &fields);
                if job["waits_for"].as_array().is_some_and(|reasons| !reasons.is_empty()) {
                    crate::out!();
                    table::print(
                        &WAITS,
                        &table::rows(&job["waits_for"], &["reason", "detail", "job_id", "until", "ahead"]),
                    );
                }
                if job["failures"].as_array().is_some_and(|failures| !failures.is_empty()) {
                    crate::out!();
                    list(&job["failures"], &["attempt", "outcome", "started_at", "finished_at", "error"]);
                }
            });
            Ok(true)
        }
        Jobs::Logs { id, follow: true } => follow::follow(shell, &id).await,
        Jobs::Logs { id, follow: false } => {
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
        Jobs::Retry { target, force } => change(shell, "retry", target, None, force).await,
        Jobs::Cancel { target, reason } => change(shell, "cancel", target, reason, false).await,
        Jobs::Discard(target) => change(shell, "discard", target, None, false).await,
    }
}

async fn change(
    shell: &Shell,
    action: &str,
    target: JobTarget,
    reason: Option<String>,
    force: bool,
) -> anyhow::Result<bool> {
    if let Some(id) = &target.id {
        let query = if force { "?force=true" } else { "" };
        let path = format!("{PATH}/{}/{action}{query}", segment(id)?);
        let body = object([("reason", json!(reason))]);
        let job = match action {
            "cancel" => shell.client.post_json(&path, &body).await?,
            _ => shell.client.post(&path).await?,
        };
        let now = job["id"].as_str().unwrap_or_default();
        let state = job["state"].as_str().unwrap_or_default();
        let more = match (job["cancel_asked"] == true, job["undo"] == true) {
            (_, true) => ", to be undone",
            (true, false) if state == "running" => ", and is asked to end",
            _ => "",
        };
        shell.say(&job, &format!("{now} is {state}{more}"));
        return Ok(true);
    }
    let mut filter = target.filter;
    let states = std::mem::take(&mut filter.state);
    anyhow::ensure!(!states.is_empty(), "name a job, or a --state (and more) for a change in bulk");
    let mut filter = bulk::object_of(filter.fields()?);
    filter.insert("states".to_owned(), json!(states));
    let mut options = json!({});
    if let Some(reason) = reason {
        options["reason"] = json!(reason);
    }
    if force {
        options["force"] = json!(true);
    }
    let change = Change { action, things: "jobs", filter, options, all: target.all };
    bulk::run(shell, PATH, &change, &target.bulk).await
}
