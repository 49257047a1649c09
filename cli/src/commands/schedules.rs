use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Shell, item, list, segment};
use crate::{args::Schedules, table};

const PATH: &str = "/v1/admin/schedules";

pub async fn run(shell: &Shell, command: Option<Schedules>) -> anyhow::Result<bool> {
    match command.unwrap_or(Schedules::List) {
        Schedules::List => {
            let answer = shell.client.get(PATH, &[]).await?;
            let fields =
                ["name", "origin", "spec", "time_zone", "kind", "paused", "next_at", "last_at", "problem"];
            shell.show(&answer, || list(&answer["data"], &fields));
        }
        Schedules::Show { name } => {
            let answer = shell.client.get(&path(&name, "")?, &[]).await?;
            shell.show(&answer, || {
                let fields = [
                    "name",
                    "origin",
                    "spec",
                    "time_zone",
                    "missed",
                    "missed_limit",
                    "overlap",
                    "paused",
                    "problem",
                    "kind",
                    "queue",
                    "arguments",
                ];
                item(&answer, &fields);
                for next in answer["next_runs"].as_array().into_iter().flatten() {
                    crate::out!("{:<16} {}", "next", table::cell(next));
                }
                crate::out!();
                let fields = ["fire_at", "manual", "existing", "state", "job_id", "finished_at", "result"];
                list(&answer["runs"], &fields);
            });
        }
        Schedules::Put { name, spec, kind, arguments, time_zone, missed, missed_limit, overlap } => {
            let arguments: Value = serde_json::from_str(&arguments).context("--arguments is no JSON")?;
            let body = json!({ "spec": spec, "kind": kind, "arguments": arguments, "time_zone": time_zone,
                               "missed": missed, "missed_limit": missed_limit, "overlap": overlap });
            let answer = shell.client.put_json(&path(&name, "")?, &body).await?;
            shell.say(&answer, &format!("{name} fires next at {}", table::cell(&answer["next_at"])));
        }
        Schedules::Delete { name } => {
            let answer = shell.client.delete(&path(&name, "")?).await?;
            shell.say(&answer, &format!("{name} is removed"));
        }
        Schedules::Pause { name } => {
            let answer = shell.client.post(&path(&name, "/pause")?).await?;
            shell.say(&answer, &format!("{name} rests"));
        }
        Schedules::Resume { name } => {
            let answer = shell.client.post(&path(&name, "/resume")?).await?;
            shell.say(&answer, &format!("{name} fires next at {}", table::cell(&answer["next_at"])));
        }
        Schedules::Run { name, force } => {
            let query = if force { "/run?force=true" } else { "/run" };
            let answer = shell.client.post(&path(&name, query)?).await?;
            shell.say(&answer, &format!("job {}", table::cell(&answer["id"])));
        }
    }
    Ok(true)
}

fn path(name: &str, rest: &str) -> anyhow::Result<String> {
    Ok(format!("{PATH}/{}{rest}", segment(name)?))
}
