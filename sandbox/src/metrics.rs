//! Counters of what was asked and what came of it, as Prometheus text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Operation;
use crate::refusal::Refusal;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Succeeded,
    Declined,
    Refused,
    Replayed,
    KeyReused,
    InProgress,
    Invalid,
    RateLimited,
    Timeout,
    LostAnswer,
    Error,
}

impl Seen {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Succeeded, "succeeded"),
        (Self::Declined, "declined"),
        (Self::Refused, "refused"),
        (Self::Replayed, "replayed"),
        (Self::KeyReused, "key_reused"),
        (Self::InProgress, "in_progress"),
        (Self::Invalid, "invalid"),
        (Self::RateLimited, "rate_limited"),
        (Self::Timeout, "timeout"),
        (Self::LostAnswer, "lost_answer"),
        (Self::Error, "error"),
    ];

    pub(crate) fn of_status(status_code: u16) -> Self {
        match status_code {
            201 => Self::Succeeded,
            402 => Self::Declined,
            _ => Self::Refused,
        }
    }

    pub(crate) fn of_refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::KeyReused => Self::KeyReused,
            Refusal::InProgress => Self::InProgress,
            Refusal::RateLimited { .. } => Self::RateLimited,
            Refusal::TimedOut => Self::Timeout,
            Refusal::Internal | Refusal::JournalUnavailable => Self::Error,
            _ => Self::Invalid,
        }
    }
}

/// Operations by kind and outcome.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    operations: [[AtomicU64; Seen::ALL.len()]; Operation::ALL.len()],
}

impl Metrics {
    pub(crate) fn count(&self, operation: Operation, seen: Seen) {
        self.operations[operation as usize][seen as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters that are not zero.
    pub(crate) fn print(&self, text: &mut Page) {
        text.head("operations_total", "counter", "Requests that move money, by operation and outcome.");
        for operation in Operation::ALL {
            for (seen, outcome) in Seen::ALL {
                let count = self.operations[operation as usize][seen as usize].load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format!("operation=\"{}\",outcome=\"{outcome}\"", operation.name());
                    text.line("operations_total", &labels, count);
                }
            }
        }
    }
}

/// A page in the Prometheus text format; every name gets the prefix `waybill_sandbox_`.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ =
            writeln!(self.0, "# HELP waybill_sandbox_{name} {help}\n# TYPE waybill_sandbox_{name} {kind}");
    }

    pub(crate) fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "waybill_sandbox_{name} {value}"),
            _ => writeln!(self.0, "waybill_sandbox_{name}{{{labels}}} {value}"),
        };
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
