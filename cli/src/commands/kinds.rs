//! Kinds, and holding one back.

use serde_json::json;

use super::{Shell, drain, list, object, segment};
use crate::args::Kinds;

/// `waybill kinds`.
pub async fn run(shell: &Shell, command: Option<Kinds>) -> anyhow::Result<bool> {
    match command.unwrap_or(Kinds::List) {
        Kinds::List => {
            let answer = shell.client.get("/v1/admin/system/kinds", &[]).await?;
            let fields =
                ["kind", "queue", "max_attempts", "compensates", "running", "paused", "pause_reason", "dry"];
            shell.show(&answer, || list(&answer["data"], &fields));
        }
        Kinds::Pause { kind, reason } => {
            let path = format!("{}/pause", path(&kind)?);
            let answer = shell.client.post_json(&path, &object([("reason", json!(reason))])).await?;
            shell.say(&answer, &format!("{kind} is paused; {} of it still run", answer["running"]));
        }
        Kinds::Resume { kind } => {
            let answer = shell.client.post(&format!("{}/resume", path(&kind)?)).await?;
            shell.say(&answer, &format!("{kind} is claimed"));
        }
        Kinds::Drain { kind, reason, timeout } => {
            return drain(shell, &path(&kind)?, &kind, reason, timeout).await;
        }
    }
    Ok(true)
}

fn path(kind: &str) -> anyhow::Result<String> {
    Ok(format!("/v1/admin/system/kinds/{}", segment(kind)?))
}
