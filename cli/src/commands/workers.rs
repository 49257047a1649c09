//! Workers, and quieting one of them.

use serde_json::Value;

use super::{Shell, list, segment};
use crate::{args::Workers, table};

/// `waybill workers`.
pub async fn run(shell: &Shell, command: Option<Workers>) -> anyhow::Result<bool> {
    match command.unwrap_or(Workers::List) {
        Workers::List => {
            let answer = shell.client.get("/v1/admin/system/workers", &[]).await?;
            shell.show(&answer, || show(&answer["data"]));
        }
        Workers::Quiet { id } => {
            let answer = shell.client.post(&path(&id, "quiet")?).await?;
            shell.say(
                &answer,
                &format!("{id} claims nothing more within a second; it holds {} jobs", answer["jobs"]),
            );
        }
        Workers::Resume { id } => {
            let answer = shell.client.post(&path(&id, "resume")?).await?;
            shell.say(&answer, &format!("{id} claims again within a second"));
        }
    }
    Ok(true)
}

fn show(workers: &Value) {
    list(
        workers,
        &["id", "host", "pid", "version", "state", "dry", "alive", "jobs", "overdue", "started_at", "queues"],
    );
    for worker in workers.as_array().into_iter().flatten() {
        if let Some(lane) = worker["event_lane"].as_str() {
            let why = worker["event_lane_reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            crate::out!("\n{} hands events on over {lane}{why}", table::cell(&worker["id"]));
        }
        for (what, rows, fields) in [
            ("has places", &worker["places"], ["queue", "configured", "now", "running"].as_slice()),
            ("runs", &worker["running"], &["id", "kind", "attempt", "started_at", "progress"]),
        ] {
            if rows.as_array().is_some_and(|rows| !rows.is_empty()) {
                crate::out!("\n{} {what}", table::cell(&worker["id"]));
                list(rows, fields);
            }
        }
    }
}

fn path(id: &str, action: &str) -> anyhow::Result<String> {
    Ok(format!("/v1/admin/system/workers/{}/{action}", segment(id)?))
}
