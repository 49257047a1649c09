//! The gateway's own account of what moved: what a client reconciles with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::model::{Entry, Operation};
use crate::money::Currency;

/// The largest page of entries.
pub(crate) const MAX_PAGE: usize = 1_000;

/// Every movement of money since the beginning, and its sums.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    captured: BTreeMap<Currency, Decimal>,
    refunded: BTreeMap<Currency, Decimal>,
    counts: [u64; Operation::ALL.len()],
    declines: u64,
    captures_of: HashMap<Arc<str>, u32>,
    double_captures: u64,
}

/// The sums of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) captured: BTreeMap<Currency, String>,
    pub(crate) refunded: BTreeMap<Currency, String>,
    pub(crate) authorizations: u64,
    pub(crate) captures: u64,
    pub(crate) voids: u64,
    pub(crate) refunds: u64,
    pub(crate) declines: u64,
    /// References (orders) that were captured more than once.
    pub(crate) double_captures: u64,
}

/// A page of the ledger.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) data: Vec<Entry>,
    /// What to give as `after` for the next page; absent at the end.
    pub(crate) next_cursor: Option<String>,
}

impl Ledger {
    /// The number that the next entry gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        let sum = match entry.kind {
            Operation::Capture => {
                let captures = self.captures_of.entry(Arc::clone(&entry.reference)).or_default();
                *captures += 1;
                if *captures == 2 {
                    self.double_captures += 1;
                }
                Some(&mut self.captured)
            }
            Operation::Refund => Some(&mut self.refunded),
            Operation::Authorize | Operation::Void => None,
        };
        if let Some(sum) = sum {
            let total = sum.entry(entry.currency).or_insert(entry.currency.zero());
            *total = total.saturating_add(entry.amount);
        }
        self.counts[entry.kind as usize] += 1;
        self.entries.push(entry);
    }

    pub(crate) fn count_decline(&mut self) {
        self.declines += 1;
    }

    /// At most `limit` entries after number `after`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> Page {
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(self.entries.len());
        let to = from.saturating_add(limit.clamp(1, MAX_PAGE)).min(self.entries.len());
        Page {
            data: self.entries[from..to].to_vec(),
            next_cursor: (to < self.entries.len()).then(|| to.to_string()),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let print = |sums: &BTreeMap<Currency, Decimal>| {
            sums.iter().map(|(currency, sum)| (*currency, sum.to_string())).collect()
        };
        let count = |operation: Operation| self.counts[operation as usize];
        Summary {
            captured: print(&self.captured),
            refunded: print(&self.refunded),
            authorizations: count(Operation::Authorize),
            captures: count(Operation::Capture),
            voids: count(Operation::Void),
            refunds: count(Operation::Refund),
            declines: self.declines,
            double_captures: self.double_captures,
        }
    }
}
