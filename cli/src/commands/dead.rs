use serde_json::json;

use super::{
    Shell,
    bulk::{self, Change},
    list, more, segment,
};
use crate::args::{Dead, DeadTarget};

const PATH: &str = "/v1/admin/dead-letters";

pub async fn run(shell: &Shell, command: Dead) -> anyhow::Result<bool> {
    match command {
        Dead::List { filter, paging } => {
            let query = bulk::page(paging, filter.fields()?);
            let answer = shell.client.get(PATH, &query).await?;
            shell.show(&answer, || {
                list(&answer["data"], &["id", "kind", "queue", "attempt", "died_at", "reason"]);
                more(&answer);
            });
            Ok(true)
        }
        Dead::Retry { target, force } => change(shell, "retry", target, "queued again", force).await,
        Dead::Discard(target) => change(shell, "discard", target, "discarded", false).await,
    }
}

async fn change(
    shell: &Shell,
    action: &str,
    target: DeadTarget,
    done: &str,
    force: bool,
) -> anyhow::Result<bool> {
    if let Some(id) = &target.id {
        let query = if force { "?force=true" } else { "" };
        let answer = shell.client.post(&format!("{PATH}/{}/{action}{query}", segment(id)?)).await?;
        shell.say(&answer, done);
        return Ok(true);
    }
    let fields = target.filter.fields()?;
    anyhow::ensure!(target.all || !fields.is_empty(), "name a dead letter, a filter, or --all");
    let filter = bulk::object_of(fields);
    let options = if force { json!({ "force": true }) } else { json!({}) };
    let change = Change { action, things: "dead letters", filter, options, all: target.all };
    bulk::run(shell, PATH, &change, &target.bulk).await
}
