use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Shell, drain, list, object, segment};
use crate::{args::Queues, table, time::rate};

const FIELDS: [&str; 12] = [
    "queue",
    "scheduled",
    "queued",
    "running",
    "held",
    "dead",
    "oldest_seconds",
    "ended_per_second",
    "workers",
    "paused",
    "limits.max_running",
    "limits.rate.jobs",
];

pub async fn run(shell: &Shell, command: Option<Queues>) -> anyhow::Result<bool> {
    match command.unwrap_or(Queues::List) {
        Queues::List => {
            let answer = shell.client.get("/v1/admin/system/queues", &[]).await?;
            shell.show(&answer, || {
                table::print(&FIELDS, &table::rows(&with_held(&answer["queues"]), &FIELDS));
                crate::out!();
                for line in unserved(&answer["queues"]) {
                    crate::out!("{line}");
                }
                crate::out!("outbox: {}", answer["outbox_pending"]);
                crate::out!();
                list(
                    &answer["workers"],
                    &["id", "service", "host", "pid", "version", "state", "alive", "event_lane"],
                );
            });
            Ok(true)
        }
        Queues::Pause { queue, reason } => {
            let answer = pause(shell, &queue, reason).await?;
            shell.say(&answer, &format!("{queue} is paused; {} of it still run", answer["running"]));
            Ok(true)
        }
        Queues::Resume { queue } => {
            let answer = shell.client.post(&path(&queue, "resume")?).await?;
            shell.say(&answer, &format!("{queue} is claimed from"));
            Ok(true)
        }
        Queues::Drain { queue, reason, timeout } => {
            drain(shell, &path(&queue, "")?, &queue, reason, timeout).await
        }
        Queues::Limit { queue, running, per_key, rate: starts, key_rate } => {
            let body = object([
                ("max_running", json!(running)),
                ("max_per_key", json!(per_key)),
                ("rate", starts.as_deref().map(rate).transpose()?.unwrap_or_default()),
                ("key_rate", key_rate.as_deref().map(rate).transpose()?.unwrap_or_default()),
            ]);
            let answer = shell.client.put_json(&path(&queue, "limits")?, &body).await?;
            shell.say(&answer, &format!("limits of {queue}: {}", answer["limits"]));
            Ok(true)
        }
        Queues::Concurrency { queue, places, worker } => {
            let places: Option<u32> = match places.as_str() {
                "default" => None,
                number => Some(
                    number
                        .parse()
                        .with_context(|| format!("{number:?} is neither a number nor `default`"))?,
                ),
            };
            let body = object([("places", json!(places)), ("worker_id", json!(worker))]);
            let answer = shell.client.put_json(&path(&queue, "concurrency")?, &body).await?;
            shell.say(&answer, &format!("concurrency of {queue}: {}", answer["concurrency"]));
            Ok(true)
        }
    }
}

/// A line for each queue whose jobs wait for nobody.
fn unserved(queues: &Value) -> Vec<String> {
    let queues = queues.as_array().map(Vec::as_slice).unwrap_or_default();
    let waits = queues.iter().filter(|queue| queue["workers"] == 0 && queue["queued"].as_i64() > Some(0));
    waits.map(|queue| format!("{}: no worker serves it", table::cell(&queue["queue"]))).collect()
}

async fn pause(shell: &Shell, queue: &str, reason: Option<String>) -> anyhow::Result<Value> {
    shell.client.post_json(&path(queue, "pause")?, &object([("reason", json!(reason))])).await
}

fn path(queue: &str, action: &str) -> anyhow::Result<String> {
    let queue = segment(queue)?;
    Ok(match action {
        "" => format!("/v1/admin/system/queues/{queue}"),
        action => format!("/v1/admin/system/queues/{queue}/{action}"),
    })
}

/// The queues with what holds their jobs as one cell: `partition 12, kind:mail.send 3`.
fn with_held(queues: &Value) -> Value {
    let mut queues = queues.clone();
    for queue in queues.as_array_mut().into_iter().flatten() {
        let reasons: Vec<String> = queue["held"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|held| format!("{} {}", table::cell(&held["reason"]), table::cell(&held["jobs"])))
            .collect();
        queue["held"] = Value::String(reasons.join(", "));
    }
    queues
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::unserved;

    #[test]
    fn only_queues_whose_jobs_wait_for_nobody_are_named() {
        let queue = |name: &str, queued: i64, workers: i64| json!({ "queue": name, "queued": queued, "workers": workers });
        let queues = json!([queue("a", 0, 0), queue("b", 2, 0), queue("c", 2, 1)]);
        assert_eq!(unserved(&queues), ["b: no worker serves it"]);
        assert!(unserved(&json!(null)).is_empty());
    }
}
