//! What each command asks and prints.

mod bulk;
mod dead;
mod events;
mod flows;
mod follow;
mod jobs;
mod kinds;
mod queues;
mod schedules;
mod search;
mod system;
mod workers;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::{Map, Value, json};

use crate::{
    args::{Args, Command},
    client::Client,
    table,
};

/// What every command needs.
pub struct Shell {
    /// The API.
    pub client: Client,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether nobody is to be asked.
    pub yes: bool,
}

/// Runs a command; `false` means that the answer was not a good one.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    match &args.command {
        Command::Health { url } => return system::health(url).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "waybill", &mut script);
            crate::out!("{}", String::from_utf8_lossy(&script).trim_end());
            return Ok(true);
        }
        _ => {}
    }
    let shell = Shell { client: Client::new(&args.url, args.api_key)?, json: args.json, yes: args.yes };
    match args.command {
        Command::Health { .. } | Command::Completion { .. } => Ok(true),
        Command::Status => system::status(&shell).await,
        Command::Checks => system::checks(&shell).await,
        Command::Order { id } => system::order(&shell, &id).await,
        Command::Workers { command } => workers::run(&shell, command).await,
        Command::Outbox => system::outbox(&shell).await,
        Command::Pipelines => events::pipelines(&shell).await,
        Command::Replay { pipeline, topic, since, until } => {
            events::replay(&shell, &pipeline, topic, &since, until.as_deref()).await
        }
        Command::Events(command) => events::events(&shell, command).await,
        Command::Actions(actions) => system::actions(&shell, actions).await,
        Command::Flows(command) => flows::run(&shell, command).await,
        Command::Kinds { command } => kinds::run(&shell, command).await,
        Command::Dependencies { command } => system::dependencies(&shell, command).await,
        Command::Jobs(command) => jobs::run(&shell, command).await,
        Command::Queues { command } => queues::run(&shell, command).await,
        Command::Schedules { command } => schedules::run(&shell, command).await,
        Command::Search(command) => search::run(&shell, command).await,
        Command::Dead(command) => dead::run(&shell, command).await,
    }
}

impl Shell {
    /// Prints the answer as JSON, or as `print` does.
    pub fn show(&self, answer: &Value, print: impl FnOnce()) {
        if self.json {
            crate::out!("{answer}");
        } else {
            print();
        }
    }

    /// Prints the answer as JSON, or one line.
    pub fn say(&self, answer: &Value, line: &str) {
        self.show(answer, || crate::out!("{line}"));
    }
}

/// A table of the items, a column per field; `a.b` is a field of a field.
pub fn list(items: &Value, fields: &[&str]) {
    table::print(fields, &table::rows(items, fields));
}

/// A table of one item, a row per field that is there.
pub fn item(item: &Value, fields: &[&str]) {
    for field in fields {
        let cell = table::cell(table::field(item, field));
        if !cell.is_empty() {
            crate::out!("{field:<16} {cell}");
        }
    }
}

/// Between two looks at whether something has run dry.
const LOOK: Duration = Duration::from_millis(500);

/// Pauses what is at `path`, and waits for so many seconds until nothing of it runs; `false` if something still does.
pub async fn drain(
    shell: &Shell,
    path: &str,
    name: &str,
    reason: Option<String>,
    timeout: u64,
) -> anyhow::Result<bool> {
    let until = Instant::now() + Duration::from_secs(timeout);
    let mut answer =
        shell.client.post_json(&format!("{path}/pause"), &object([("reason", json!(reason))])).await?;
    while answer["dry"] != true && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        answer = shell.client.get(path, &[]).await?;
    }
    let dry = answer["dry"] == true;
    let line = if dry {
        format!("{name} is dry")
    } else {
        format!("{name} is paused, and {} of it still run", answer["running"])
    };
    shell.say(&answer, &line);
    Ok(dry)
}

/// Says how to see the next page, if there is one.
pub fn more(answer: &Value) {
    if let Some(cursor) = answer["next_cursor"].as_str() {
        eprintln!("more: --cursor {cursor}");
    }
}

/// An object of the fields that are something.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A segment of a path: ids and names need no escaping, and what does is none.
pub fn segment(text: &str) -> anyhow::Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    Some(text)
        .filter(|text| !text.is_empty() && text.chars().all(plain))
        .with_context(|| format!("{text:?} is no name"))
}
