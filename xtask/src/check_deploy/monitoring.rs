//! What the alerts and the dashboard ask for, against what the code measures and the documents say of it.
//!
//! A metric that is spelled wrong, or was renamed, is no error to Prometheus: an alert over it never fires.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// Labels that Prometheus itself adds, and the one of histograms.
const ADDED: [&str; 3] = ["job", "instance", "le"];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The metrics of docs/telemetry.md, each with its labels.
pub struct Documented(BTreeMap<String, BTreeSet<String>>);

impl Documented {
    /// Reads the table: names, labels, meaning. Names in one row share their labels; `x_*` stands for all that begin so.
    pub fn parse(telemetry: &str) -> Self {
        let mut metrics = BTreeMap::new();
        for line in telemetry.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", names, labels, _, ""] = cells.as_slice() else { continue };
            let labels: BTreeSet<String> = labels
                .split(',')
                .map(|label| label.trim().to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            for name in names.split('`').skip(1).step_by(2) {
                metrics.insert(name.to_owned(), labels.clone());
            }
        }
        Self(metrics)
    }

    /// The labels of a metric, or of the histogram that it is a part of.
    fn labels(&self, name: &str) -> Option<&BTreeSet<String>> {
        let whole = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part));
        let exactly = self.0.get(name).or_else(|| self.0.get(whole?));
        exactly.or_else(|| {
            self.0.iter().find_map(|(known, labels)| {
                known.strip_suffix('*').filter(|prefix| name.starts_with(prefix)).map(|_| labels)
            })
        })
    }
}

/// What is wrong with the alerts and the dashboard. `code` is all of the sources.
pub fn problems(alerts: &str, dashboard: &str, documented: &Documented, code: &str) -> Result<Vec<String>> {
    let rules: Rules = serde_yaml_ng::from_str(alerts).context("alerts.yml is no file of rules")?;
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for rule in rules.groups.into_iter().flat_map(|group| group.rules) {
        if !names.insert(rule.alert.clone()) {
            problems.push(format!("{}: is there twice", rule.alert));
        }
        if !matches!(rule.labels.get("severity").map(String::as_str), Some("page" | "ticket")) {
            problems.push(format!("{}: its severity is neither page nor ticket", rule.alert));
        }
        for text in ["summary", "action"] {
            if rule.annotations.get(text).is_none_or(String::is_empty) {
                problems.push(format!("{}: no {text}", rule.alert));
            }
        }
        let shown = rule.annotations.values().flat_map(|text| labels_shown(text)).collect();
        problems.extend(expression(&rule.alert, &rule.expr, shown, documented, code));
    }
    let dashboard: Value = serde_json::from_str(dashboard).context("the dashboard is no JSON")?;
    for panel in dashboard["panels"].as_array().context("the dashboard has no panels")? {
        let title = panel["title"].as_str().unwrap_or("a panel without a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let shown = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            let shown = shown.map(|label| label.trim().to_owned()).collect();
            let expr = target["expr"].as_str().unwrap_or_default();
            problems.extend(expression(title, expr, shown, documented, code));
        }
    }
    Ok(problems)
}

/// What is wrong with one expression; `labels` are those that are shown with its answer.
fn expression(
    place: &str,
    expr: &str,
    mut labels: BTreeSet<String>,
    documented: &Documented,
    code: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    let metrics: BTreeSet<&str> =
        words(expr).filter(|word| word.starts_with("waybill_") || word.starts_with("process_")).collect();
    if metrics.is_empty() {
        problems.push(format!("{place}: asks for no metric"));
    }
    let mut known: BTreeSet<&str> = ADDED.into();
    for metric in metrics {
        match documented.labels(metric) {
            Some(labels) => known.extend(labels.iter().map(String::as_str)),
            None => problems.push(format!("{place}: {metric} is not in docs/telemetry.md")),
        }
        let whole = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| metric.strip_suffix(part));
        let measured = |name: &str| code.contains(&format!("\"{name}\""));
        if !measured(metric) && !whole.is_some_and(measured) {
            problems.push(format!("{place}: nothing measures {metric}"));
        }
    }
    labels.extend(labels_of(expr));
    for label in labels.iter().filter(|label| !known.contains(label.as_str())) {
        problems.push(format!("{place}: its metrics have no label {label}"));
    }
    problems
}

fn words(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Labels that an expression groups or selects by.
fn labels_of(expr: &str) -> impl Iterator<Item = String> {
    let grouped = expr.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    let selected = expr.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let grouped = grouped.flat_map(|list| list.split(',')).map(str::to_owned);
    let selected = selected
        .flat_map(|list| list.split(','))
        .filter_map(|matcher| matcher.split(['=', '!']).next())
        .map(str::to_owned);
    let trimmed = grouped.chain(selected).map(|label| label.trim().to_owned());
    trimmed.filter(|label| !label.is_empty()).collect::<Vec<_>>().into_iter()
}

/// Labels in a text of an alert.
fn labels_shown(text: &str) -> Vec<String> {
    text.split("$labels.").skip(1).filter_map(|rest| words(rest).next().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TELEMETRY: &str = "| metric | labels | what |\n|---|---|---|\n\
        | `waybill_jobs_total` | queue, kind | jobs |\n| `waybill_a_seconds`, `waybill_b_seconds` | | times |\n\
        | `process_*` | | the process |\n";
    const CODE: &str = "counter!(\"waybill_jobs_total\") histogram!(\"waybill_a_seconds\") \"process_x\"";
    const ALERTS: &str = "
groups:
  - name: one
    rules:
      - alert: Many
        expr: sum by (queue) (rate(waybill_jobs_total{kind=\"x\"}[5m])) > 1
        labels: { severity: page }
        annotations: { summary: 'in {{ $labels.queue }}', action: look }
";
    const DASHBOARD: &str = r#"{ "panels": [{ "title": "row" }, { "title": "Times", "targets": [
        { "expr": "histogram_quantile(0.9, sum by (le) (rate(waybill_a_seconds_bucket[5m])))", "legendFormat": "all" },
        { "expr": "process_x", "legendFormat": "{{instance}}" }] }] }"#;

    fn check(alerts: &str, dashboard: &str) -> Vec<String> {
        problems(alerts, dashboard, &Documented::parse(TELEMETRY), CODE).unwrap()
    }

    #[test]
    fn what_fits_passes() {
        assert_eq!(check(ALERTS, DASHBOARD), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        for (old, new, told) in [
            (
                "waybill_jobs_total{",
                "waybill_job_total{",
                "Many: waybill_job_total is not in docs/telemetry.md",
            ),
            ("waybill_jobs_total{", "waybill_b_seconds{", "Many: nothing measures waybill_b_seconds"),
            ("by (queue)", "by (lane)", "Many: its metrics have no label lane"),
            ("{kind=", "{kin=", "Many: its metrics have no label kin"),
            ("$labels.queue", "$labels.cue", "Many: its metrics have no label cue"),
            ("severity: page", "severity: loud", "Many: its severity"),
            ("action: look", "actions: look", "Many: no action"),
        ] {
            let broken = ALERTS.replace(old, new);
            assert_ne!(broken, ALERTS, "{old}");
            let found = check(&broken, DASHBOARD).join("\n");
            assert!(found.contains(told), "{told:?} not in {found:?}");
        }
        for (old, new, told) in [
            (
                "waybill_a_seconds_bucket",
                "waybill_c_seconds_bucket",
                "Times: waybill_c_seconds_bucket is not in",
            ),
            ("{{instance}}", "{{pod}}", "Times: its metrics have no label pod"),
            ("process_x", "up", "Times: asks for no metric"),
        ] {
            let broken = DASHBOARD.replace(old, new);
            assert_ne!(broken, DASHBOARD, "{old}");
            let found = check(ALERTS, &broken).join("\n");
            assert!(found.contains(told), "{told:?} not in {found:?}");
        }
    }
}
