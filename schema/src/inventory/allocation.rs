//! Which stock an order gets: a decision over locked levels, without a database.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Integer, Uuid as SqlUuid};
use uuid::Uuid;

/// Pieces of a variant that an order needs, over all its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The variant.
    pub variant_id: Uuid,
    /// Pieces, at least one.
    pub quantity: i64,
}

/// The stock of a variant at an active location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Level {
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub variant_id: Uuid,
    /// The location.
    #[diesel(sql_type = SqlUuid)]
    pub location_id: Uuid,
    /// The location's place in the order in which locations are asked; smaller first.
    #[diesel(sql_type = Integer)]
    pub priority: i32,
    /// Pieces there.
    #[diesel(sql_type = Integer)]
    pub on_hand: i32,
    /// Pieces promised to orders that are not confirmed yet.
    #[diesel(sql_type = Integer)]
    pub reserved: i32,
    /// Whether more may be promised than there is.
    #[diesel(sql_type = Bool)]
    pub backorder: bool,
}

/// Pieces to take from a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// The variant.
    pub variant_id: Uuid,
    /// The location that serves it whole.
    pub location_id: Uuid,
    /// Pieces.
    pub quantity: i32,
}

/// A variant whose availability flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// The variant.
    pub variant_id: Uuid,
    /// Pieces available over all active locations after the change.
    pub available: i64,
}

/// What is to be done about an order's needs: all of them, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// Everything can be had.
    Reserve {
        /// One per need, in its order.
        takes: Vec<Take>,
        /// Variants of which nothing is left to sell.
        depleted: Vec<Flip>,
    },
    /// The pieces are there, but promised to checkouts that may yet fail.
    Wait(Vec<Uuid>),
    /// These variants cannot be had, whatever becomes of other checkouts.
    Short(Vec<Uuid>),
}

impl Level {
    fn available(&self) -> i64 {
        i64::from(self.on_hand) - i64::from(self.reserved)
    }
}

/// Allocates each need to the first location, by priority, that can serve it whole; else, in backorder, to the first that
/// allows it. `needs` name each variant once.
pub fn allocate(needs: &[Need], levels: &[Level]) -> Allocation {
    let mut by_variant: BTreeMap<Uuid, Vec<&Level>> = BTreeMap::new();
    for level in levels {
        by_variant.entry(level.variant_id).or_default().push(level);
    }
    let (mut takes, mut depleted) = (Vec::with_capacity(needs.len()), Vec::new());
    let (mut waiting, mut short) = (Vec::new(), Vec::new());
    for need in needs {
        let variant_id = need.variant_id;
        let mut places = by_variant.remove(&variant_id).unwrap_or_default();
        places.sort_by_key(|level| (level.priority, level.location_id));
        let chosen = places
            .iter()
            .find(|level| level.available() >= need.quantity)
            .or_else(|| places.iter().find(|level| level.backorder));
        match (chosen, i32::try_from(need.quantity)) {
            (Some(level), Ok(quantity)) => {
                takes.push(Take { variant_id, location_id: level.location_id, quantity });
                let before: i64 = places.iter().map(|level| level.available()).sum();
                let available = before - need.quantity;
                if before > 0 && available <= 0 && !places.iter().any(|level| level.backorder) {
                    depleted.push(Flip { variant_id, available });
                }
            }
            _ if places.iter().any(|level| i64::from(level.on_hand) >= need.quantity) => {
                waiting.push(variant_id);
            }
            _ => short.push(variant_id),
        }
    }
    if !short.is_empty() {
        Allocation::Short(short)
    } else if !waiting.is_empty() {
        Allocation::Wait(waiting)
    } else {
        Allocation::Reserve { takes, depleted }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn level(variant: u128, location: u128, priority: i32, on_hand: i32, reserved: i32) -> Level {
        Level {
            variant_id: id(variant),
            location_id: id(location),
            priority,
            on_hand,
            reserved,
            backorder: false,
        }
    }

    fn need(variant: u128, quantity: i64) -> Need {
        Need { variant_id: id(variant), quantity }
    }

    fn taken(allocation: &Allocation) -> Vec<(u128, u128, i32)> {
        match allocation {
            Allocation::Reserve { takes, .. } => {
                takes.iter().map(|t| (t.variant_id.as_u128(), t.location_id.as_u128(), t.quantity)).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_first_location_that_has_all_of_it_serves() {
        let levels = [level(1, 10, 2, 9, 0), level(1, 11, 1, 9, 6), level(1, 12, 3, 9, 0)];
        assert_eq!(taken(&allocate(&[need(1, 3)], &levels)), [(1, 11, 3)]);
        assert_eq!(taken(&allocate(&[need(1, 4)], &levels)), [(1, 10, 4)]);
        assert_eq!(allocate(&[need(1, 10)], &levels), Allocation::Short(vec![id(1)]));
    }

    #[test]
    fn all_or_nothing() {
        let levels = [level(1, 10, 0, 5, 0), level(2, 10, 0, 1, 0)];
        assert_eq!(allocate(&[need(1, 1), need(2, 2)], &levels), Allocation::Short(vec![id(2)]));
        assert_eq!(allocate(&[need(1, 1), need(3, 1)], &levels), Allocation::Short(vec![id(3)]));
        assert_eq!(taken(&allocate(&[need(1, 1), need(2, 1)], &levels)), [(1, 10, 1), (2, 10, 1)]);
    }

    #[test]
    fn units_that_others_hold_are_waited_for_but_not_beside_a_hopeless_line() {
        let levels = [level(1, 10, 0, 5, 5), level(2, 10, 0, 0, 0)];
        assert_eq!(allocate(&[need(1, 5)], &levels), Allocation::Wait(vec![id(1)]));
        assert_eq!(allocate(&[need(1, 6)], &levels), Allocation::Short(vec![id(1)]));
        assert_eq!(allocate(&[need(1, 1), need(2, 1)], &levels), Allocation::Short(vec![id(2)]));
    }

    #[test]
    fn the_last_unit_flips_the_variant_once() {
        let flipped = |levels: &[Level], quantity| match allocate(&[need(1, quantity)], levels) {
            Allocation::Reserve { depleted, .. } => depleted,
            other => panic!("{other:?}"),
        };
        assert_eq!(flipped(&[level(1, 10, 0, 5, 3)], 2), [Flip { variant_id: id(1), available: 0 }]);
        assert_eq!(flipped(&[level(1, 10, 0, 5, 2)], 2), []);
        assert_eq!(flipped(&[level(1, 10, 0, 5, 3), level(1, 11, 1, 1, 0)], 2), []);
    }

    #[test]
    fn backorder_serves_what_nobody_has_and_never_runs_out() {
        let on_order = Level { backorder: true, ..level(1, 11, 1, 0, 4) };
        let levels = [level(1, 10, 0, 2, 0), on_order];
        assert_eq!(taken(&allocate(&[need(1, 2)], &levels)), [(1, 10, 2)]);
        let allocation = allocate(&[need(1, 3)], &levels);
        assert_eq!(taken(&allocation), [(1, 11, 3)]);
        assert!(matches!(allocation, Allocation::Reserve { ref depleted, .. } if depleted.is_empty()));
        let more_than_a_level_counts = i64::from(i32::MAX) + 1;
        assert_eq!(allocate(&[need(1, more_than_a_level_counts)], &levels), Allocation::Short(vec![id(1)]));
    }
}
