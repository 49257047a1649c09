use std::time::Duration;

use anyhow::Context as _;
use chrono::Utc;
use serde_json::json;

use super::{Shell, list, more, object, segment};
use crate::{
    args::{Actions, Dependencies},
    table,
    time::instant,
};

pub async fn health(url: &str) -> anyhow::Result<bool> {
    let client = waybill_platform::http::client(Duration::from_secs(3))?;
    let response = client.get(url).send().await.with_context(|| format!("no answer from {url}"))?;
    Ok(response.status().is_success())
}

pub async fn status(shell: &Shell) -> anyhow::Result<bool> {
    let answer = shell.client.get("/v1/admin/system", &[]).await?;
    shell.show(&answer, || {
        list(&answer["admission"], &["class", "admitted", "queue", "limit_seconds", "retry_after_seconds"]);
        crate::out!();
        list(&answer["load"], &["queue", "oldest_seconds", "waiting", "drain_per_second"]);
    });
    Ok(true)
}

pub async fn checks(shell: &Shell) -> anyhow::Result<bool> {
    let answer = shell.client.get("/v1/admin/system/checks", &[]).await?;
    shell.show(&answer, || list(&answer["checks"], &["name", "ok", "found", "detail"]));
    Ok(answer["ok"].as_bool().unwrap_or(false))
}

pub async fn order(shell: &Shell, id: &str) -> anyhow::Result<bool> {
    let id = segment(id)?;
    let order = shell.client.get(&format!("/v1/admin/orders/{id}"), &[]).await?;
    let trail = shell.client.get(&format!("/v1/admin/orders/{id}/trail"), &[]).await?;
    let answer = json!({ "order": order, "trail": trail["data"] });
    shell.show(&answer, || {
        let field = |name: &str| table::cell(&order[name]);
        crate::out!(
            "order {} is {} ({}) {}",
            field("number"),
            field("status"),
            field("step"),
            field("reason")
        );
        crate::out!();
        list(&trail["data"], &["at", "source", "kind", "status", "detail"]);
    });
    Ok(true)
}

pub async fn outbox(shell: &Shell) -> anyhow::Result<bool> {
    let answer = shell.client.get("/v1/admin/system/outbox", &[]).await?;
    shell.show(&answer, || list(&answer["data"], &["topic", "events", "oldest_seconds"]));
    Ok(true)
}

pub async fn actions(shell: &Shell, asked: Actions) -> anyhow::Result<bool> {
    let now = Utc::now();
    let mut query = vec![("limit", asked.limit.to_string())];
    let given = [
        ("cursor", asked.cursor),
        ("since", asked.since.map(|text| instant(&text, now)).transpose()?),
        ("until", asked.until.map(|text| instant(&text, now)).transpose()?),
        ("actor", asked.actor),
        ("action", asked.action),
        ("target", asked.target),
    ];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let answer = shell.client.get("/v1/admin/system/actions", &query).await?;
    shell.show(&answer, || {
        list(&answer["data"], &["at", "actor", "action", "target", "detail"]);
        more(&answer);
    });
    Ok(true)
}

pub async fn dependencies(shell: &Shell, command: Option<Dependencies>) -> anyhow::Result<bool> {
    const PATH: &str = "/v1/admin/system/dependencies";
    match command.unwrap_or(Dependencies::List) {
        Dependencies::List => {
            let answer = shell.client.get(PATH, &[]).await?;
            let fields = ["name", "down", "down_since", "down_until", "reason", "probe_job_id"];
            shell.show(&answer, || list(&answer["data"], &fields));
        }
        Dependencies::Down { name, seconds, reason } => {
            let body = object([("for_seconds", json!(seconds)), ("reason", json!(reason))]);
            let answer = shell.client.post_json(&format!("{PATH}/{}/down", segment(&name)?), &body).await?;
            shell.say(
                &answer,
                &format!("{name} is down; one job may try at {}", table::cell(&answer["down_until"])),
            );
        }
        Dependencies::Up { name } => {
            let answer = shell.client.post(&format!("{PATH}/{}/up", segment(&name)?)).await?;
            shell.say(&answer, &format!("{name} is up"));
        }
    }
    Ok(true)
}
