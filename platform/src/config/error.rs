//! What is wrong with a configuration: all of it, in the words an operator needs.

use std::fmt;

/// Every problem found in one reading, never only the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of the settings in the defaults file, then of the sources.
    pub problems: Vec<Problem>,
}

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting by its path, as `worker.heartbeat`; for a file that cannot be read, the file's name.
    pub setting: String,
    /// The environment variable that sets it; `None` where no variable would help.
    pub variable: Option<String>,
    /// What is expected, and what was found where that is no secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) => write!(f, "{} ({variable}): {}", self.setting, self.message),
            None => write!(f, "{}: {}", self.setting, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}
