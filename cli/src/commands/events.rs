//! Pipelines and replays.

use chrono::Utc;
use serde_json::{Value, json};

use super::{Shell, list, object, segment};
use crate::{confirm::confirm, time::instant};

/// `waybill pipelines`.
pub async fn pipelines(shell: &Shell) -> anyhow::Result<bool> {
    let answer = shell.client.get("/v1/admin/pipelines", &[]).await?;
    shell.show(&answer, || {
        list(&answer["data"], &["name", "at_broker", "as_jobs", "dead", "oldest_seconds", "topics"]);
    });
    Ok(true)
}

/// `waybill replay`.
pub async fn replay(
    shell: &Shell,
    pipeline: &str,
    topic: Option<String>,
    since: &str,
    until: Option<&str>,
) -> anyhow::Result<bool> {
    let now = Utc::now();
    let since = instant(since, now)?;
    // Now, too, is a time: what is counted is what is replayed.
    let until = instant(until.unwrap_or("0s"), now)?;
    let path = format!("/v1/admin/pipelines/{}/replays", segment(pipeline)?);
    let mut query = vec![("since", since.clone()), ("until", until.clone())];
    query.extend(topic.clone().map(|topic| ("topic", topic)));
    let count = shell.client.get(&format!("{path}/count"), &query).await?;
    let events = count["events"].as_i64().unwrap_or_default();
    confirm(shell.yes, &format!("Give {events} events to {pipeline} again?"))?;
    let body = object([
        ("topics", topic.map_or(Value::Null, |topic| json!([topic]))),
        ("since", json!(since)),
        ("until", json!(until)),
    ]);
    let job = shell.client.post_json(&path, &body).await?;
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    shell.say(&job, &format!("job {id} replays {events} events: waybill jobs show {id}"));
    Ok(true)
}
