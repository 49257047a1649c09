//! Outcomes of many jobs, in as few statements as they need.

use std::collections::HashSet;

use diesel::QueryResult;
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    complete::{Completion, Entry, bury, complete},
    completer::Resolution,
    put_back::{PutBack, put_back},
    tid::Tid,
};

/// Whose outcomes counted.
pub(super) enum Held {
    All,
    Only(HashSet<Uuid>),
}

impl Held {
    pub(super) fn has(&self, id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}

/// Outcomes by the statement they need.
#[derive(Default)]
pub(super) struct Sorted {
    over: Vec<Completion>,
    back: Vec<PutBack>,
    dead: Vec<(Uuid, i64, Entry, &'static str)>,
}

impl Sorted {
    pub(super) fn add(&mut self, id: Uuid, claim: i64, place: Tid, resolution: Resolution) {
        match resolution {
            Resolution::Over(end) => self.over.push(Completion { id, claim, place, end }),
            Resolution::Back { delay, refund, snooze, entry } => {
                self.back.push(PutBack { id, claim, delay, refund, snooze, entry });
            }
            Resolution::Dead { entry, reason } => self.dead.push((id, claim, entry, reason)),
        }
    }

    /// At most one statement of each sort; each commits by itself, and a repetition changes nothing.
    pub(super) async fn write(&self, conn: &mut Conn) -> QueryResult<Held> {
        let all = self.over.len() + self.back.len() + self.dead.len();
        let mut held = Vec::new();
        if !self.over.is_empty() {
            held.extend(complete(conn, &self.over).await?);
        }
        if !self.back.is_empty() {
            held.extend(put_back(conn, &self.back).await?);
        }
        if !self.dead.is_empty() {
            held.extend(bury(conn, &self.dead).await?);
        }
        Ok(if held.len() == all { Held::All } else { Held::Only(held.into_iter().collect()) })
    }
}

/// Makes one outcome durable; false if the claim is lost.
#[cfg(feature = "testing")]
pub(crate) async fn write_one(
    conn: &mut Conn,
    id: Uuid,
    claim: i64,
    resolution: Resolution,
) -> QueryResult<bool> {
    let mut sorted = Sorted::default();
    sorted.add(id, claim, Tid::UNKNOWN, resolution);
    Ok(sorted.write(conn).await?.has(id))
}
