//! Pipelines, the log of events, and both kinds of replay.

use chrono::Utc;
use serde_json::{Value, json};

use super::{Shell, list, more, object, segment};
use crate::{args::Events as Command, confirm::confirm, time::instant};

/// `waybill pipelines`.
pub async fn pipelines(shell: &Shell) -> anyhow::Result<bool> {
    let answer = shell.client.get("/v1/admin/pipelines", &[]).await?;
    shell.show(&answer, || {
        list(
            &answer["data"],
            &["name", "at_broker", "as_jobs", "dead", "oldest_seconds", "at_least", "topics"],
        );
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

/// `waybill events …`.
pub async fn events(shell: &Shell, command: Command) -> anyhow::Result<bool> {
    let now = Utc::now();
    match command {
        Command::List { topic, since, aggregate, lane, paging } => {
            let mut query = vec![("limit", paging.limit.to_string())];
            query.extend(topic.map(|topic| ("topic", topic)));
            query.extend(aggregate.map(|id| ("aggregate", id)));
            query.extend(lane.map(|lane| ("lane", lane)));
            query.extend(paging.cursor.map(|cursor| ("cursor", cursor)));
            if let Some(since) = since {
                query.push(("since", instant(&since, now)?));
            }
            let answer = shell.client.get("/v1/admin/events", &query).await?;
            shell.show(&answer, || {
                let columns =
                    ["published_at", "lane", "event.topic", "event.aggregate_id", "event.id", "pipelines"];
                list(&answer["data"], &columns);
                if answer["more"].as_bool() == Some(true) {
                    more(&answer);
                }
            });
            Ok(true)
        }
        Command::Republish { topic, since, until, all } => {
            let since = instant(&since, now)?;
            let until = instant(until.as_deref().unwrap_or("0s"), now)?;
            let what = if all { "All events" } else { "The events that went over Postgres" };
            let question = format!(
                "{what} from {since} to {until} go to everybody who has a queue at the broker. Go on?"
            );
            confirm(shell.yes, &question)?;
            let body = object([
                ("topics", topic.map_or(Value::Null, |topic| json!([topic]))),
                ("since", json!(since)),
                ("until", json!(until)),
                ("all", json!(all)),
            ]);
            let job = shell.client.post_json("/v1/admin/events/republish", &body).await?;
            let id = job["id"].as_str().unwrap_or_default().to_owned();
            shell.say(&job, &format!("job {id} publishes them: waybill jobs show {id}"));
            Ok(true)
        }
    }
}
