//! What each command asks and prints.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    args::{Args, Command, Dead},
    client::Client,
    table,
};

/// Runs a command; `false` means that the answer was not a good one.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    if let Command::Health { url } = &args.command {
        return health(url).await;
    }
    let client = Client::new(&args.url, args.api_key)?;
    match args.command {
        Command::Health { .. } => Ok(true),
        Command::Checks => {
            let answer = client.get("/v1/admin/system/checks", &[]).await?;
            show(&answer, args.json, || list(&answer["checks"], &["name", "ok", "found", "detail"]));
            Ok(answer["ok"].as_bool().unwrap_or(false))
        }
        Command::Queues => {
            let answer = client.get("/v1/admin/system/queues", &[]).await?;
            show(&answer, args.json, || {
                list(&answer["queues"], &["queue", "state", "count", "oldest_seconds"]);
                println!();
                list(&answer["workers"], &["id", "service", "host", "pid", "version", "state", "event_lane"]);
            });
            Ok(true)
        }
        Command::Order { id } => order(&client, &id, args.json).await,
        Command::Job { id } => {
            let job = client.get(&format!("/v1/jobs/{id}"), &[]).await?;
            show(&job, args.json, || {
                list(
                    &Value::Array(vec![job.clone()]),
                    &["kind", "queue", "state", "attempt", "max_attempts", "run_at"],
                );
                println!();
                list(&job["failures"], &["attempt", "outcome", "started_at", "finished_at", "error"]);
            });
            Ok(true)
        }
        Command::Dead(dead) => self::dead(&client, dead, args.json).await,
    }
}

async fn health(url: &str) -> anyhow::Result<bool> {
    let client = waybill_platform::http::client(Duration::from_secs(3))?;
    let response = client.get(url).send().await.with_context(|| format!("no answer from {url}"))?;
    Ok(response.status().is_success())
}

async fn order(client: &Client, id: &str, json: bool) -> anyhow::Result<bool> {
    let order = client.get(&format!("/v1/admin/orders/{id}"), &[]).await?;
    let trail = client.get(&format!("/v1/admin/orders/{id}/trail"), &[]).await?;
    if json {
        println!("{}", serde_json::json!({ "order": order, "trail": trail["data"] }));
        return Ok(true);
    }
    let field = |name: &str| table::cell(&order[name]);
    println!("order {} is {} ({}) {}", field("number"), field("status"), field("step"), field("reason"));
    println!();
    list(&trail["data"], &["at", "source", "kind", "status", "detail"]);
    Ok(true)
}

async fn dead(client: &Client, dead: Dead, json: bool) -> anyhow::Result<bool> {
    match dead {
        Dead::List { kind, queue } => {
            let mut query = vec![("limit", "100")];
            query.extend(kind.as_deref().map(|k| ("kind", k)));
            query.extend(queue.as_deref().map(|q| ("queue", q)));
            let answer = client.get("/v1/admin/dead-letters", &query).await?;
            show(&answer, json, || {
                list(&answer["data"], &["id", "kind", "queue", "attempt", "died_at", "reason"]);
            });
        }
        Dead::Retry { id } => {
            client.post(&format!("/v1/admin/dead-letters/{id}/retry")).await?;
            println!("queued again");
        }
        Dead::Discard { id } => {
            client.post(&format!("/v1/admin/dead-letters/{id}/discard")).await?;
            println!("discarded");
        }
    }
    Ok(true)
}

fn show(answer: &Value, json: bool, print: impl FnOnce()) {
    if json {
        println!("{answer}");
    } else {
        print();
    }
}

fn list(items: &Value, fields: &[&str]) {
    table::print(fields, &table::rows(items, fields));
}
