//! What reading one configuration finds: values in force, problems, warnings, and settings that nobody knows.

use std::collections::BTreeSet;

use super::{
    error::Problem,
    layers::{Layers, Origin, variable},
    section::Section,
};

/// A setting as it is in force, for people to look at. Secrets show as `***`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `worker.lease`.
    pub name: String,
    /// `WAYBILL_WORKER__LEASE`.
    pub variable: String,
    /// As text; `None` for an optional setting that is not set.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

/// Reads one configuration from its sources.
pub struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    pub settings: Vec<Setting>,
    /// Paths that somebody read.
    pub(super) known: BTreeSet<String>,
    /// Those of them that are tables with entries of any name.
    pub(super) tables: BTreeSet<String>,
    /// Those that were read with a problem.
    pub(super) bad: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub fn new(layers: &'a Layers, problems: Vec<Problem>) -> Self {
        Self {
            layers,
            problems,
            warnings: Vec::new(),
            settings: Vec::new(),
            known: BTreeSet::new(),
            tables: BTreeSet::new(),
            bad: BTreeSet::new(),
        }
    }

    /// The settings under `name`; the empty name is the top level.
    pub fn section<'r>(&'r mut self, name: &'static str) -> Section<'r, 'a> {
        Section::new(self, name)
    }

    /// Whether all of these were read without a problem, so that comparing them makes sense.
    pub fn usable(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| !self.bad.contains(*path))
    }

    pub fn note(&mut self, path: &str, value: Option<String>, origin: Origin) {
        let (name, variable) = (path.to_owned(), variable(path));
        self.settings.push(Setting { name, variable, value, origin });
    }

    pub fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.bad.insert(path.to_owned());
        let (setting, variable) = (path.to_owned(), Some(variable(path)));
        self.problems.push(Problem { setting, variable, message: message.into() });
    }

    /// Reports every setting that a source names and nobody read. To be called after the last section.
    pub fn refuse_unknown(&mut self) {
        for (path, origin) in self.layers.named(&self.tables) {
            // A table where one value belongs is already reported, once, by the read of that value.
            let under_bad = self.bad.iter().any(|bad| is_under(&path, bad));
            if self.known.contains(&path) || under_bad {
                continue;
            }
            let section = self.known.iter().any(|known| is_under(known, &path));
            let message = if section {
                format!("is a section of settings, not a value; set in {origin}")
            } else {
                match self.closest(&path) {
                    Some(near) => format!("there is no such setting (set in {origin}); did you mean {near}?"),
                    None => format!("there is no such setting (set in {origin})"),
                }
            };
            let variable = match origin {
                Origin::Variable(name) => Some(name),
                _ => None,
            };
            self.problems.push(Problem { setting: path, variable, message });
        }
    }

    fn closest(&self, path: &str) -> Option<&str> {
        // Three edits cover a missed underscore, a plural or two swapped letters without far-fetched advice.
        let near = self.known.iter().map(|known| (edits(known, path), known)).min();
        near.filter(|(distance, _)| *distance <= 3).map(|(_, known)| known.as_str())
    }
}

fn is_under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

/// Levenshtein's distance, for "did you mean".
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
