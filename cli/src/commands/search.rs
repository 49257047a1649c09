use serde_json::json;

use super::{Shell, object};
use crate::{args::Search, table};

pub async fn run(shell: &Shell, command: Search) -> anyhow::Result<bool> {
    let Search::Reindex { category } = command;
    let body = object([("category_id", json!(category))]);
    let job = shell.client.post_json("/v1/admin/search/reindex", &body).await?;
    let id = table::cell(&job["id"]);
    shell.say(&job, &format!("job {id} writes the index anew: waybill jobs show {id}"));
    Ok(true)
}
