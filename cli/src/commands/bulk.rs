//! Filters as the API takes them, and changes of all that one finds.

use chrono::Utc;
use serde_json::{Map, Value, json};

use super::Shell;
use crate::{
    args::{Bulk, CommonFilter, JobFilter, Paging},
    confirm::confirm,
    time::instant,
};

/// The fields of a filter that are given.
pub type Fields = Vec<(&'static str, String)>;

impl CommonFilter {
    /// As the API names them.
    pub fn fields(self) -> anyhow::Result<Fields> {
        let now = Utc::now();
        let fields = [
            ("kind", self.kind),
            ("queue", self.queue),
            ("error", self.error),
            ("since", self.since.map(|text| instant(&text, now)).transpose()?),
            ("until", self.until.map(|text| instant(&text, now)).transpose()?),
        ];
        Ok(given(fields))
    }
}

impl JobFilter {
    /// All but the states, which a list and a change in bulk name differently.
    pub fn fields(self) -> anyhow::Result<Fields> {
        let own = given([("correlation_id", self.correlation), ("owner_id", self.owner)]);
        Ok([self.common.fields()?, own].concat())
    }
}

fn given<const N: usize>(fields: [(&'static str, Option<String>); N]) -> Fields {
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The query of one page of a list.
pub fn page(paging: Paging, fields: Fields) -> Fields {
    let mut query = vec![("limit", paging.limit.to_string())];
    query.extend(paging.cursor.map(|cursor| ("cursor", cursor)));
    query.extend(fields);
    query
}

/// The fields as the body of a change in bulk has them.
pub fn object_of(fields: Fields) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// A change of all that a filter finds.
pub struct Change<'a> {
    /// As the API names it.
    pub action: &'a str,
    /// What is changed, for people.
    pub things: &'a str,
    /// Which.
    pub filter: Map<String, Value>,
}

/// Counts, asks, and changes, at `bulk` below `path`.
pub async fn run(shell: &Shell, path: &str, change: Change<'_>, bulk: &Bulk) -> anyhow::Result<bool> {
    let Change { action, things, filter } = change;
    let path = format!("{path}/bulk");
    let body = |dry_run: bool| json!({ "action": action, "filter": filter, "limit": bulk.limit, "dry_run": dry_run });
    let counted = shell.client.post_json(&path, &body(true)).await?;
    let matched = counted["matched"].as_i64().unwrap_or_default();
    let more = if counted["more"] == true { " of more" } else { "" };
    if bulk.dry_run || matched == 0 {
        shell.say(&counted, &format!("{matched}{more} would be changed"));
        return Ok(true);
    }
    confirm(shell.yes, &format!("{action} {matched}{more} {things}?"))?;
    let answer = shell.client.post_json(&path, &body(false)).await?;
    let changed = answer["changed"].as_i64().unwrap_or_default();
    let rest = if answer["more"] == true { "; there are more" } else { "" };
    shell.say(&answer, &format!("{changed} of {matched} changed{rest}"));
    Ok(true)
}
