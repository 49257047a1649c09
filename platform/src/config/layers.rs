//! The three sources of a setting, strongest last: the embedded defaults, one file, the environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use toml::{Table, Value};

use super::error::Problem;

/// The defaults and the documentation of every setting.
pub const DEFAULTS: &str = include_str!("../../defaults.toml");

const PREFIX: &str = "WAYBILL_";
/// Variables that belong to the tools around the services and are no settings of theirs.
const NOT_SETTINGS: [&str; 3] = ["WAYBILL_CONFIG", "WAYBILL_URL", "WAYBILL_API_KEY"];
const NOT_SETTINGS_PREFIXES: [&str; 4] =
    ["WAYBILL_TEST_", "WAYBILL_SANDBOX_", "WAYBILL_BENCH_", "WAYBILL_FAIL_POINTS"];
/// Names that platforms set by custom, the settings they stand for unless Waybill's own variable is set, and whether
/// an empty one of ours counts: an empty broker URL says "no broker", an empty database URL says nothing.
const CUSTOMARY: [(&str, &str, bool); 2] =
    [("DATABASE_URL", "database.url", false), ("AMQP_URL", "broker.url", true)];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `defaults.toml`, as compiled in.
    Defaults,
    /// The file named by `WAYBILL_CONFIG`.
    File(String),
    /// An environment variable, by name.
    Variable(String),
}

impl Origin {
    pub(super) fn strength(&self) -> u8 {
        match self {
            Self::Defaults => 0,
            Self::File(_) => 1,
            Self::Variable(_) => 2,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the defaults"),
            Self::File(path) => write!(f, "{path}"),
            Self::Variable(name) => write!(f, "the variable {name}"),
        }
    }
}

/// A value as its source holds it: typed in TOML, text in the environment.
#[derive(Debug, Clone, Copy)]
pub enum Raw<'a> {
    Value(&'a Value),
    Text(&'a str),
}

impl<'a> Raw<'a> {
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(value) => value.as_str(),
        }
    }

    /// As its source has it, texts without quotes.
    pub fn shown(self) -> String {
        match self {
            Self::Value(value) if !value.is_str() => value.to_string(),
            _ => self.as_text().unwrap_or_default().to_owned(),
        }
    }
}

pub struct Layers {
    /// Setting's path to the variable and its text.
    environment: BTreeMap<String, (String, String)>,
    file: Option<(String, Table)>,
    defaults: Table,
}

impl Layers {
    /// Reads the sources out of `variables` (the file is the one that `WAYBILL_CONFIG` names there).
    pub fn read(variables: impl IntoIterator<Item = (String, String)>, problems: &mut Vec<Problem>) -> Self {
        let all: BTreeMap<String, String> = variables.into_iter().collect();
        let mut environment = BTreeMap::new();
        for (name, text) in &all {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if NOT_SETTINGS.contains(&name.as_str())
                || NOT_SETTINGS_PREFIXES.iter().any(|p| name.starts_with(p))
            {
                continue;
            }
            let path = rest.to_ascii_lowercase().replace("__", ".");
            environment.insert(path, (name.clone(), text.clone()));
        }
        for (name, path, empty_counts) in CUSTOMARY {
            let set =
                |path: &str| environment.get(path).is_some_and(|(_, text)| empty_counts || !text.is_empty());
            let ours = set(path) || set(&format!("{path}_file"));
            if let (false, Some(text)) = (ours, all.get(name).filter(|text| !text.is_empty())) {
                environment.insert(path.to_owned(), (name.to_owned(), text.clone()));
            }
        }
        let file = all.get("WAYBILL_CONFIG").filter(|path| !path.is_empty()).and_then(|path| {
            let problem = |message: String| Problem {
                setting: path.clone(),
                variable: Some("WAYBILL_CONFIG".to_owned()),
                message,
            };
            match fs::read_to_string(path) {
                Err(error) => problems.push(problem(format!("cannot be read: {error}"))),
                Ok(text) => match text.parse::<Table>() {
                    Ok(table) => return Some((path.clone(), table)),
                    Err(error) => {
                        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                        problems.push(problem(format!("line {line} is not TOML: {}", error.message())));
                    }
                },
            }
            None
        });
        let defaults = DEFAULTS.parse().unwrap_or_else(|error| {
            problems.push(Problem {
                setting: "defaults.toml".to_owned(),
                variable: None,
                message: format!("{error}"),
            });
            Table::new()
        });
        Self { environment, file, defaults }
    }

    /// Every source that speaks of `path`, strongest first.
    pub fn all(&self, path: &str) -> Vec<(Raw<'_>, Origin)> {
        let mut found = Vec::new();
        if let Some((name, text)) = self.environment.get(path) {
            found.push((Raw::Text(text), Origin::Variable(name.clone())));
        }
        if let Some((name, table)) = &self.file {
            found.extend(descend(table, path).map(|value| (Raw::Value(value), Origin::File(name.clone()))));
        }
        found.extend(descend(&self.defaults, path).map(|value| (Raw::Value(value), Origin::Defaults)));
        found
    }

    /// The variables that set one entry each of the table at `path`: entry's name, text, variable.
    pub fn entries(&self, path: &str) -> impl Iterator<Item = (&str, &str, &str)> {
        let prefix = format!("{path}.");
        self.environment.iter().filter_map(move |(key, (name, text))| {
            key.strip_prefix(&prefix).map(|entry| (entry, text.as_str(), name.as_str()))
        })
    }

    /// Every setting that a source names, with the source, except under `tables`, whose entries are free.
    pub fn named(&self, tables: &BTreeSet<String>) -> Vec<(String, Origin)> {
        let mut named = Vec::new();
        leaves(&self.defaults, "", tables, &mut |path| named.push((path, Origin::Defaults)));
        if let Some((file, table)) = &self.file {
            leaves(table, "", tables, &mut |path| named.push((path, Origin::File(file.clone()))));
        }
        for (path, (name, _)) in &self.environment {
            let free =
                tables.iter().any(|table| path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')));
            if !free {
                named.push((path.clone(), Origin::Variable(name.clone())));
            }
        }
        named
    }
}

/// The variable that sets `path`: `worker.lease` is `WAYBILL_WORKER__LEASE`.
pub fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

fn descend<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    match (table.get(head)?, rest) {
        (value, None) => Some(value),
        (Value::Table(inner), Some(rest)) => descend(inner, rest),
        (_, Some(_)) => None,
    }
}

fn leaves(table: &Table, prefix: &str, tables: &BTreeSet<String>, found: &mut impl FnMut(String)) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) if !tables.contains(&path) => leaves(inner, &path, tables, found),
            _ => found(path),
        }
    }
}
