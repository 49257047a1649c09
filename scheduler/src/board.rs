//! Gauges that come and go with what they are about.

use std::collections::HashSet;

use metrics::{Label, gauge};

type Key = (&'static str, Vec<(&'static str, String)>);

/// What is shown. What was shown the last time and is not there any more goes to zero: a queue that has run empty, an outage
/// that is forgotten, an invariant that holds again. Else it would stay for as long as the process lives.
#[derive(Debug, Default)]
pub struct Board {
    before: HashSet<Key>,
    now: HashSet<Key>,
}

impl Board {
    /// Shows a value.
    pub fn set(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        write(name, &labels, value);
        self.now.insert((name, labels));
    }

    /// The round is over: what was not shown in it is nothing.
    pub fn done(&mut self) {
        let now = std::mem::take(&mut self.now);
        for (name, labels) in self.before.difference(&now) {
            write(name, labels, 0.0);
        }
        self.before = now;
    }

    /// The round has failed half-way: nothing is known to be gone.
    pub fn keep(&mut self) {
        self.before.extend(self.now.drain());
    }
}

fn write(name: &'static str, labels: &[(&'static str, String)], value: f64) {
    let labels: Vec<Label> = labels.iter().map(|(key, value)| Label::new(*key, value.clone())).collect();
    gauge!(name, labels).set(value);
}
