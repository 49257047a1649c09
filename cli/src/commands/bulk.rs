//! Filters as the API takes them, and changes of all that one finds.

use std::collections::BTreeMap;

use chrono::Utc;
use serde_json::{Map, Value, json};

use super::Shell;
use crate::{
    args::{Bulk, CommonFilter, JobFilter, Paging},
    client::Refused,
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

/// A change of what a filter finds.
pub struct Change<'a> {
    /// As the API names it.
    pub action: &'a str,
    /// What is changed, for people.
    pub things: &'a str,
    /// Which.
    pub filter: Map<String, Value>,
    /// More of the request's body.
    pub options: Value,
    /// Whether to go on to the end, and not only up to the limit.
    pub all: bool,
}

/// What several requests came to together.
#[derive(Default)]
struct Sum {
    matched: i64,
    changeable: i64,
    changed: i64,
    skipped: BTreeMap<String, i64>,
    more: bool,
    next_cursor: Value,
    /// Before which time the first request looked; null from an API that does not say.
    until: Value,
}

impl Sum {
    fn add(&mut self, answer: &Value) {
        let number = |name: &str| answer[name].as_i64().unwrap_or_default();
        self.matched += number("matched");
        self.changeable += number("changeable");
        self.changed += number("changed");
        for skipped in answer["skipped"].as_array().into_iter().flatten() {
            let reason = skipped["reason"].as_str().unwrap_or_default().to_owned();
            *self.skipped.entry(reason).or_default() += skipped["jobs"].as_i64().unwrap_or_default();
        }
        self.more = answer["more"] == true;
        self.next_cursor.clone_from(&answer["next_cursor"]);
        if self.until.is_null() {
            self.until.clone_from(&answer["until"]);
        }
    }

    /// As the API answers one request.
    fn answer(&self, dry_run: bool) -> Value {
        let skipped: Vec<Value> =
            self.skipped.iter().map(|(reason, jobs)| json!({ "reason": reason, "jobs": jobs })).collect();
        json!({ "dry_run": dry_run, "matched": self.matched, "changeable": self.changeable, "changed": self.changed,
                "skipped": skipped, "more": self.more, "next_cursor": self.next_cursor })
    }

    /// `; left alone: 2 flow_over, 1 slot_taken`, if any were.
    fn left_alone(&self) -> String {
        let reasons: Vec<String> = self.skipped.iter().map(|(why, jobs)| format!("{jobs} {why}")).collect();
        if reasons.is_empty() { String::new() } else { format!("; left alone: {}", reasons.join(", ")) }
    }
}

/// Counts, asks, and changes what was there at the count and no more than were counted, at `bulk` below `path`.
pub async fn run(shell: &Shell, path: &str, change: &Change<'_>, bulk: &Bulk) -> anyhow::Result<bool> {
    let counted = pieces(shell, path, change, bulk, None).await?;
    let Sum { matched, changeable, .. } = counted;
    let more = if counted.more { " of more" } else { "" };
    let left = counted.left_alone();
    if bulk.dry_run || changeable == 0 {
        let line = format!("{matched}{more} are found; {changeable} would be changed{left}");
        shell.say(&counted.answer(true), &line);
        return Ok(true);
    }
    let Change { action, things, .. } = change;
    let beside = if left.is_empty() { String::new() } else { format!(" ({matched} are found{left})") };
    confirm(shell.yes, &format!("{action} {changeable}{more} {things}{beside}?"))?;
    let sum = pieces(shell, path, change, bulk, Some(&counted)).await?;
    let rest = match (sum.more, change.all) {
        (false, _) => "",
        (true, false) => "; there are more: --all",
        (true, true) => "; there are more than were counted",
    };
    let line = format!("{} of {} changed{}{rest}", sum.changed, sum.matched, sum.left_alone());
    shell.say(&sum.answer(false), &line);
    Ok(true)
}

/// One request, or with `all` as many as it takes: a count, or the change of what was `counted`. What was changed before one
/// fails stays changed, and is said.
async fn pieces(
    shell: &Shell,
    path: &str,
    change: &Change<'_>,
    bulk: &Bulk,
    counted: Option<&Sum>,
) -> anyhow::Result<Sum> {
    let path = format!("{path}/bulk");
    let dry_run = counted.is_none();
    let mut body = json!({ "action": change.action, "filter": change.filter, "dry_run": dry_run });
    if let (Some(body), Some(options)) = (body.as_object_mut(), change.options.as_object()) {
        body.extend(options.clone());
    }
    let most = counted.map_or(i64::MAX, |counted| counted.matched);
    let mut sum =
        Sum { until: counted.map_or(Value::Null, |counted| counted.until.clone()), ..Sum::default() };
    loop {
        body["limit"] = json!(i64::from(bulk.limit).min(most - sum.matched));
        // Nobody has confirmed what has come since, and being newer it would be taken first.
        if !sum.until.is_null() {
            body["filter"]["until"].clone_from(&sum.until);
        }
        let answer = match shell.client.post_json(&path, &body).await {
            Ok(answer) => answer,
            Err(error) if dry_run => return Err(error),
            Err(error) => {
                let here =
                    error.downcast_ref::<Refused>().and_then(|refused| refused.problem["changed"].as_i64());
                let before = sum.changed + here.unwrap_or_default();
                return Err(
                    error.context(format!("after {before} {} were changed, which stay so", change.things))
                );
            }
        };
        sum.add(&answer);
        if !(change.all && sum.more && sum.matched < most) {
            return Ok(sum);
        }
        if !dry_run {
            eprintln!("{} of {} changed so far", sum.changed, sum.matched);
        }
        body["cursor"].clone_from(&sum.next_cursor);
    }
}
