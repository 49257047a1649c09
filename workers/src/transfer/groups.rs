//! Rows that must stay in order among themselves, and the part of a file that takes them.

use std::collections::HashMap;

/// A number for a text that is the same in every process and version: FNV-1a, its bits then mixed (the finalizer of
/// `SplitMix64`), as its lower ones alone are uneven.
pub fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The part of `parts` that takes a group.
pub fn part(group: u64, parts: usize) -> usize {
    let parts = u64::try_from(parts).unwrap_or(u64::MAX).max(1);
    usize::try_from(group % parts).unwrap_or_default()
}

/// The groups of keys as their first rows have it, by hash: 17 to 34 bytes a key, 9 MB for a stretch of new keys. Two keys
/// of a stretch share a hash once in 600 million stretches; the second then has the group of the first.
#[derive(Debug, Default)]
pub struct Seen(HashMap<u64, u64>);

impl Seen {
    /// The group of a key; `group` says it if the key is new.
    pub fn first(&mut self, key: &str, group: impl FnOnce() -> u64) -> u64 {
        *self.0.entry(hash(key)).or_insert_with(group)
    }
}
