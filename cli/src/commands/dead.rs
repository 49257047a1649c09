use chrono::Utc;
use serde_json::{Map, Value, json};

use super::{Shell, jobs::bulk, list, more, segment};
use crate::{
    args::{Dead, DeadFilter, DeadTarget},
    time::instant,
};

const PATH: &str = "/v1/admin/dead-letters";

pub async fn run(shell: &Shell, command: Dead) -> anyhow::Result<bool> {
    match command {
        Dead::List { filter, limit, cursor } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            query.extend(read(filter)?.into_iter().filter_map(|(name, value)| Some((name, value?))));
            let answer = shell.client.get(PATH, &query).await?;
            shell.show(&answer, || {
                list(&answer["data"], &["id", "kind", "queue", "attempt", "died_at", "reason"]);
                more(&answer);
            });
            Ok(true)
        }
        Dead::Retry(target) => change(shell, "retry", target, "queued again").await,
        Dead::Discard(target) => change(shell, "discard", target, "discarded").await,
    }
}

async fn change(shell: &Shell, action: &str, target: DeadTarget, done: &str) -> anyhow::Result<bool> {
    if let Some(id) = &target.id {
        let answer = shell.client.post(&format!("{PATH}/{}/{action}", segment(id)?)).await?;
        shell.say(&answer, done);
        return Ok(true);
    }
    let fields: Map<String, Value> = read(target.filter)?
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
        .collect();
    anyhow::ensure!(target.all || !fields.is_empty(), "name a dead letter, a filter, or --all");
    let path = format!("{PATH}/bulk");
    bulk(shell, &path, action, &Value::Object(fields), target.limit, target.dry_run).await
}

fn read(filter: DeadFilter) -> anyhow::Result<[(&'static str, Option<String>); 5]> {
    let now = Utc::now();
    Ok([
        ("kind", filter.kind),
        ("queue", filter.queue),
        ("error", filter.error),
        ("since", filter.since.map(|text| instant(&text, now)).transpose()?),
        ("until", filter.until.map(|text| instant(&text, now)).transpose()?),
    ])
}
