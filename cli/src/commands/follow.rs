//! Following what a job logs.

use std::time::Duration;

use serde_json::Value;

use super::{Shell, segment};
use crate::{client::Refused, table};

/// How long to wait before connecting again, and how often without a word in between.
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 30;

/// Prints the lines of a job as they come, until it is over: as they are, or, as JSON, one object a line. A stream that breaks off,
/// as when the API is deployed, is taken up behind the last line that came. False if the job is dead.
pub async fn follow(shell: &Shell, id: &str) -> anyhow::Result<bool> {
    let path = format!("/v1/jobs/{}/events", segment(id)?);
    let (mut last, mut failed) = (None::<String>, 0);
    loop {
        match stream(shell, &path, &mut last).await {
            Ok(Some(state)) => {
                if !shell.json {
                    eprintln!("{id} is {state}");
                }
                return Ok(state != "dead");
            }
            Ok(None) => failed = 0,
            Err(error) if error.is::<Refused>() || last.is_none() || failed == TRIES => return Err(error),
            Err(_) => failed += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads one stream; answers with the state in which the job ended, if it tells.
async fn stream(shell: &Shell, path: &str, last: &mut Option<String>) -> anyhow::Result<Option<String>> {
    let Some(mut events) = shell.client.events(path, last.as_deref()).await? else { return Ok(None) };
    while let Some(event) = events.next().await? {
        let data: Value = serde_json::from_str(&event.data)?;
        match event.name.as_str() {
            "log" => shell.show(&data, || {
                let field = |name: &str| table::cell(&data[name]);
                crate::out!(
                    "{}  {}  {:<5}  {}",
                    field("at"),
                    field("attempt"),
                    field("level"),
                    field("line")
                );
            }),
            "job" if event.id == "over" => return Ok(Some(table::cell(&data["state"]))),
            _ => {}
        }
        *last = Some(event.id);
    }
    Ok(None)
}
