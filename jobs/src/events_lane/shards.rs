//! Which relay owns which shards of the outbox.
//!
//! A shard is owned by holding a session advisory lock, so it is free at the moment its owner's connection dies. Everything
//! an owner does to a shard it does on that connection, so an owner that lost it can do no more. Another lock, shared by
//! all relays, says how many there are, so that each takes its share.

use std::collections::BTreeMap;

use diesel::sql_types::{Array, BigInt, Integer, SmallInt};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use rand::seq::SliceRandom as _;
use waybill_schema::{Conn, sql};

use super::{item::Lane, switch};
use crate::emit::SHARDS;

/// First half of the keys of our advisory locks ("WBEV"); the second is the shard, or [`PRESENCE`].
const CLASS: i32 = 0x5742_4556;
/// Held, shared, by every relay.
const PRESENCE: i32 = 1_000;

#[derive(QueryableByName)]
struct Shard {
    #[diesel(sql_type = SmallInt)]
    shard: i16,
}

#[derive(QueryableByName)]
struct Relays {
    #[diesel(sql_type = BigInt)]
    relays: i64,
}

/// The shards of one relay, and the lane each is on according to the database.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    owned: BTreeMap<i16, Lane>,
}

impl Shards {
    /// Says that this relay is there. Once for each connection.
    pub(crate) async fn announce(conn: &mut Conn) -> QueryResult<()> {
        sql("select pg_advisory_lock_shared($1, $2)")
            .bind::<Integer, _>(CLASS)
            .bind::<Integer, _>(PRESENCE)
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Gives back what is beyond this relay's share and takes what is free up to it.
    pub(crate) async fn balance(&mut self, conn: &mut Conn) -> QueryResult<()> {
        let Relays { relays } = sql("select count(*) as relays from pg_locks
             where locktype = 'advisory' and classid = $1::oid and objid = $2::oid and objsubid = 2 and granted
               and database = (select oid from pg_database where datname = current_database())")
        .bind::<Integer, _>(CLASS)
        .bind::<Integer, _>(PRESENCE)
        .get_result(conn)
        .await?;
        let share = i64::from(SHARDS).unsigned_abs().div_ceil(relays.unsigned_abs().max(1));
        let share = usize::try_from(share).unwrap_or(1);

        while self.owned.len() > share {
            let Some((shard, _)) = self.owned.pop_last() else { break };
            sql("select pg_advisory_unlock($1, $2)")
                .bind::<Integer, _>(CLASS)
                .bind::<Integer, _>(i32::from(shard))
                .execute(conn)
                .await?;
        }
        if self.owned.len() < share {
            self.take(conn, share - self.owned.len()).await?;
        }
        Ok(())
    }

    async fn take(&mut self, conn: &mut Conn, wanted: usize) -> QueryResult<()> {
        let mut others: Vec<i16> = (0..SHARDS).filter(|shard| !self.owned.contains_key(shard)).collect();
        // Two relays that start together do not try for the same ones.
        others.shuffle(&mut rand::rng());
        // Without an ORDER BY the filter runs row by row until the limit is reached, so no lock is taken beyond it.
        let taken: Vec<Shard> = sql("select shard from unnest($1) as t(shard)
             where pg_try_advisory_lock($2, shard::integer) limit $3")
        .bind::<Array<SmallInt>, _>(&others)
        .bind::<Integer, _>(CLASS)
        .bind::<BigInt, _>(i64::try_from(wanted).unwrap_or(i64::MAX))
        .load(conn)
        .await?;
        if !taken.is_empty() {
            let taken: Vec<i16> = taken.into_iter().map(|row| row.shard).collect();
            self.owned.extend(switch::lanes(conn, &taken).await?);
            tracing::debug!(shards = ?taken, owned = self.owned.len(), "took over shards of the outbox");
        }
        Ok(())
    }

    /// All that this relay owns.
    pub(crate) fn owned(&self) -> Vec<i16> {
        self.owned.keys().copied().collect()
    }

    /// Those that are on `lane`.
    pub(crate) fn on(&self, lane: Lane) -> Vec<i16> {
        self.owned.iter().filter(|(_, on)| **on == lane).map(|(shard, _)| *shard).collect()
    }

    /// Takes note of a change that is committed.
    pub(crate) fn moved(&mut self, shards: &[i16], lane: Lane) {
        for shard in shards {
            self.owned.insert(*shard, lane);
        }
    }
}
