//! The list of faults that wait: matched in order, used up.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::faults::{FaultKind, FaultSpec, Stage, Target};
use crate::refusal::Refusal;

/// How many faults may wait. Matching walks the list, so its length bounds what a request costs.
const MAX_FAULTS: usize = 10_000;

/// A fault that struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) delay: Duration,
    pub(crate) decline_code: Option<String>,
}

impl Fault {
    pub(crate) fn of(kind: FaultKind) -> Self {
        Self { kind, delay: kind.default_delay(), decline_code: None }
    }
}

/// A fault in the list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waiting {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) spec: FaultSpec,
    /// How often it may still strike.
    pub(crate) remaining: u64,
}

/// The list of faults that wait.
#[derive(Debug)]
pub(crate) struct Faults {
    waiting: Vec<Waiting>,
    added: u64,
    applied: [u64; FaultKind::ALL.len()],
    dice: StdRng,
}

impl Faults {
    /// An empty list; `seed` makes probabilities repeatable.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            waiting: Vec::new(),
            added: 0,
            applied: [0; FaultKind::ALL.len()],
            dice: seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64),
        }
    }

    pub(crate) fn add(&mut self, spec: FaultSpec) -> Result<Waiting, Refusal> {
        spec.validate()?;
        if self.waiting.len() >= MAX_FAULTS {
            return Err(Refusal::TooManyFaults(MAX_FAULTS));
        }
        self.added += 1;
        let waiting = Waiting { id: self.added, remaining: spec.times, spec };
        self.waiting.push(waiting.clone());
        Ok(waiting)
    }

    /// The first fault in the list that strikes `target`, used up once.
    pub(crate) fn pick(&mut self, stage: Stage, target: &Target<'_>) -> Option<Fault> {
        let dice = &mut self.dice;
        let at = self.waiting.iter().position(|waiting| {
            waiting.spec.fault.strikes(stage)
                && waiting.spec.matches(target)
                && waiting.spec.probability.is_none_or(|chance| dice.random_bool(chance))
        })?;
        let waiting = self.waiting.get_mut(at)?;
        let kind = waiting.spec.fault;
        let fault = Fault {
            kind,
            delay: waiting.spec.delay_ms.map_or_else(|| kind.default_delay(), Duration::from_millis),
            decline_code: waiting.spec.decline_code.clone(),
        };
        waiting.remaining -= 1;
        if waiting.remaining == 0 {
            self.waiting.remove(at);
        }
        self.applied[kind as usize] += 1;
        Some(fault)
    }

    pub(crate) fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// How often each kind has struck from the list.
    pub(crate) fn applied(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.into_iter().zip(self.applied)
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn reset(&mut self) {
        self.clear();
        self.applied = [0; FaultKind::ALL.len()];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Operation, Token};

    fn target(reference: &str) -> Target<'_> {
        Target { operation: Operation::Capture, reference, token: Token::Visa }
    }

    fn kinds(faults: &mut Faults, stage: Stage, reference: &str, asks: usize) -> Vec<Option<FaultKind>> {
        (0..asks).map(|_| faults.pick(stage, &target(reference)).map(|fault| fault.kind)).collect()
    }

    #[test]
    fn matched_in_order_and_used_up() {
        let mut faults = Faults::new(Some(1));
        faults.add(FaultSpec { times: 2, ..FaultSpec::new(FaultKind::Error500) }).unwrap();
        faults.add(FaultSpec::new(FaultKind::Timeout)).unwrap();
        assert_eq!(
            kinds(&mut faults, Stage::Fresh, "a", 4),
            [Some(FaultKind::Error500), Some(FaultKind::Error500), Some(FaultKind::Timeout), None]
        );
        assert!(faults.waiting().is_empty());
        assert_eq!(faults.applied().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn only_what_matches_is_struck() {
        let mut faults = Faults::new(Some(1));
        let spec = FaultSpec::new(FaultKind::Decline);
        faults.add(FaultSpec { reference: Some("b".into()), ..spec.clone() }).unwrap();
        faults.add(FaultSpec { operation: Some(Operation::Refund), ..spec.clone() }).unwrap();
        faults.add(FaultSpec { token: Some(Token::Expired), ..spec }).unwrap();
        assert_eq!(kinds(&mut faults, Stage::Fresh, "a", 1), [None]);
        assert_eq!(kinds(&mut faults, Stage::Replay, "b", 1), [None]);
        assert_eq!(kinds(&mut faults, Stage::Webhook, "b", 1), [None]);
        assert_eq!(kinds(&mut faults, Stage::Fresh, "b", 2), [Some(FaultKind::Decline), None]);
        assert_eq!(faults.waiting().len(), 2);
    }

    #[test]
    fn a_spared_request_does_not_use_the_fault_up() {
        let mut faults = Faults::new(Some(7));
        faults.add(FaultSpec { probability: Some(0.0), ..FaultSpec::new(FaultKind::Decline) }).unwrap();
        assert_eq!(kinds(&mut faults, Stage::Fresh, "a", 50), vec![None; 50]);
        assert_eq!(faults.waiting().len(), 1);
        faults
            .add(FaultSpec { probability: Some(0.5), times: 10, ..FaultSpec::new(FaultKind::Delay) })
            .unwrap();
        let struck = kinds(&mut faults, Stage::Fresh, "a", 200);
        assert_eq!(struck.iter().flatten().count(), 10);
        assert_ne!(struck[..10].iter().flatten().count(), 10, "half of the requests are spared");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut faults = Faults::new(None);
        let spec = FaultSpec::new(FaultKind::Delay);
        for bad in [
            FaultSpec { times: 0, ..spec.clone() },
            FaultSpec { delay_ms: Some(600_001), ..spec.clone() },
            FaultSpec { probability: Some(1.5), ..spec.clone() },
            FaultSpec { probability: Some(f64::NAN), ..spec.clone() },
            FaultSpec { decline_code: Some(String::new()), ..spec },
        ] {
            assert!(faults.add(bad).is_err());
        }
    }
}
