use chrono::Utc;
use serde_json::{Value, json};

use super::{Shell, item, list, more, object, segment};
use crate::{
    args::{JobFilter, JobTarget, Jobs},
    confirm::confirm,
    time::instant,
};

pub async fn run(shell: &Shell, command: Jobs) -> anyhow::Result<bool> {
    match command {
        Jobs::List { filter, limit, cursor } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let filter = read(filter)?;
            if !filter.states.is_empty() {
                query.push(("state", filter.states.join(",")));
            }
            query.extend(filter.rest.into_iter().filter_map(|(name, value)| Some((name, value?))));
            let answer = shell.client.get("/v1/admin/jobs", &query).await?;
            shell.show(&answer, || {
                list(&answer["data"], &["id", "kind", "state", "attempt", "created_at", "run_at", "error"]);
                more(&answer);
            });
            Ok(true)
        }
        Jobs::Show { id } => {
            let job = shell.client.get(&format!("/v1/admin/jobs/{}", segment(&id)?), &[]).await?;
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
        let path = format!("/v1/admin/jobs/{}/{action}", segment(id)?);
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
    let filter = read(target.filter)?;
    anyhow::ensure!(!filter.states.is_empty(), "name a job, or a --state (and more) for a change in bulk");
    let mut fields = serde_json::Map::new();
    fields.insert("states".to_owned(), json!(filter.states));
    for (name, value) in filter.rest {
        if let Some(value) = value {
            fields.insert(name.to_owned(), json!(value));
        }
    }
    bulk(shell, "/v1/admin/jobs/bulk", action, &Value::Object(fields), target.limit, target.dry_run).await
}

/// Counts, asks, and changes.
pub async fn bulk(
    shell: &Shell,
    path: &str,
    action: &str,
    filter: &Value,
    limit: u16,
    dry_run: bool,
) -> anyhow::Result<bool> {
    let body =
        |dry_run: bool| json!({ "action": action, "filter": filter, "limit": limit, "dry_run": dry_run });
    let counted = shell.client.post_json(path, &body(true)).await?;
    let matched = counted["matched"].as_i64().unwrap_or_default();
    let more = if counted["more"] == true { " of more" } else { "" };
    if dry_run || matched == 0 {
        shell.say(&counted, &format!("{matched}{more} would be changed"));
        return Ok(true);
    }
    confirm(shell.yes, &format!("{action} {matched}{more} jobs?"))?;
    let answer = shell.client.post_json(path, &body(false)).await?;
    let changed = answer["changed"].as_i64().unwrap_or_default();
    let rest = if answer["more"] == true { "; there are more" } else { "" };
    shell.say(&answer, &format!("{changed} of {matched} changed{rest}"));
    Ok(true)
}

struct Read {
    states: Vec<String>,
    rest: [(&'static str, Option<String>); 7],
}

fn read(filter: JobFilter) -> anyhow::Result<Read> {
    let now = Utc::now();
    Ok(Read {
        states: filter.state,
        rest: [
            ("kind", filter.kind),
            ("queue", filter.queue),
            ("correlation_id", filter.correlation),
            ("owner_id", filter.owner),
            ("error", filter.error),
            ("since", filter.since.map(|text| instant(&text, now)).transpose()?),
            ("until", filter.until.map(|text| instant(&text, now)).transpose()?),
        ],
    })
}
