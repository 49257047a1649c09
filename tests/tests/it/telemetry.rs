//! The table of metrics and spans against the sources, in both directions.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::ensure;

const DOCUMENT: &str = include_str!("../../../docs/telemetry.md");
const CRATES: [&str; 6] = ["api", "jobs", "platform", "scheduler", "schema", "workers"];
/// What looks like a metric and is none: the channel of NOTIFY, and the exposition's own.
const NO_METRICS: [&str; 2] = ["waybill_jobs", "waybill_catalogue_import"];
/// Written by a library of ours by another name.
const BY_HAND: [&str; 1] = ["waybill_build_info"];

/// Every source of a crate, without its tests.
fn sources(folder: &Path, found: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path)?;
            found.push_str(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        }
    }
    Ok(())
}

/// The text between each `before` and the next `after`, as far as it is a name.
fn names<'t>(text: &'t str, before: &str, after: char) -> BTreeSet<&'t str> {
    let named = text.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    named
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect()
}

#[test]
fn the_documented_metrics_and_spans_are_those_of_the_sources() -> anyhow::Result<()> {
    let mut code = String::new();
    for name in CRATES {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"), &mut code)?;
    }
    let mut metrics: BTreeSet<String> =
        names(&code, "\"waybill_", '"').into_iter().map(|name| format!("waybill_{name}")).collect();
    metrics.retain(|name| !NO_METRICS.contains(&name.as_str()));
    ensure!(metrics.len() > 40, "the sources were not understood: {metrics:?}");
    let mut documented: BTreeSet<String> =
        names(DOCUMENT, "`waybill_", '`').into_iter().map(|name| format!("waybill_{name}")).collect();
    documented.retain(|name| !BY_HAND.contains(&name.as_str()));
    let missing: Vec<_> = metrics.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&metrics).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        "not in docs/telemetry.md: {missing:?}; only there: {gone:?}"
    );

    let code: String = code.split_whitespace().collect();
    let spans = names(&code, "info_span!(\"", '"');
    let table =
        DOCUMENT.split("| span |").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let documented = names(table, "\n| `", '`');
    ensure!(spans == documented, "spans of the sources: {spans:?}; of docs/telemetry.md: {documented:?}");
    Ok(())
}
