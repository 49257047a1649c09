//! How many deliveries go to one receiver at a time.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

/// Counts deliveries under way per endpoint; only endpoints with some take memory. Clones share the counts.
#[derive(Clone)]
pub struct Limits {
    most: u16,
    under_way: Arc<Mutex<HashMap<Uuid, u16>>>,
}

/// Leave to deliver; given back when dropped.
pub struct Permit {
    limits: Limits,
    endpoint_id: Uuid,
}

impl Limits {
    /// At most `most` deliveries at a time to each endpoint.
    pub fn new(most: u16) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// Leave to deliver to the endpoint, or none if enough are under way.
    pub fn take(&self, endpoint_id: Uuid) -> Option<Permit> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(endpoint_id).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit { limits: self.clone(), endpoint_id })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut under_way = self.limits.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = under_way.entry(self.endpoint_id) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_endpoint_is_refused_and_the_others_are_not() {
        let limits = Limits::new(2);
        let (slow, fast) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let held: Vec<_> = (0..2).map(|_| limits.take(slow)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(limits.take(slow).is_none());
        assert!(limits.take(fast).is_some());
        drop(held);
        assert!(limits.take(slow).is_some());
        assert!(limits.under_way.lock().is_ok_and(|under_way| under_way.is_empty()), "nothing is kept");
    }
}
