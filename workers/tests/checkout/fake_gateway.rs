//! A gateway in memory that keeps books and does as it is told: it loses answers, hangs, fails and refuses, before or after
//! the effect.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rust_decimal::Decimal;
use serde_json::Value;
use waybill_workers::payments::{
    ALREADY_CAPTURED, Answer, Authorize, Capture, EventError, Fact, Gateway, GatewayError, Operation, Refund,
    Void,
};

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Done, answer lost.
    Lose,
    /// Done, then silence.
    DoneThenHang,
    /// Silence, nothing done.
    Hang,
    /// Not done, but that cannot be seen.
    Error500,
    /// Surely not done.
    Down,
    /// Refused by the issuer.
    Decline,
    /// Refused by the gateway.
    Reject,
}

/// Which call a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    Authorize,
    Capture,
    Void,
    Refund,
    Lookup,
}

#[derive(Debug, Default, Clone)]
pub struct Hold {
    pub reference: String,
    pub amount: Decimal,
    pub captured: Decimal,
    pub refunded: Decimal,
    pub voided: bool,
}

#[derive(Default)]
struct Books {
    holds: BTreeMap<String, Hold>,
    captures: BTreeMap<String, String>,
    operations: BTreeMap<String, Answer>,
    faults: VecDeque<(On, Fault)>,
    calls: BTreeMap<On, usize>,
    dice: Option<(StdRng, f64)>,
    spared_lookups: usize,
    next: usize,
}

/// Clones share the books.
#[derive(Clone, Default)]
pub struct FakeGateway {
    books: Arc<Mutex<Books>>,
}

impl FakeGateway {
    /// The next call of this kind that has no fault yet goes wrong in this way.
    pub fn script(&self, faults: &[(On, Fault)]) {
        self.books.lock().unwrap().faults.extend(faults.iter().cloned());
    }

    /// From now on every call goes wrong with this chance, in some way; except refusals.
    pub fn misbehave(&self, seed: u64, chance: f64) {
        self.books.lock().unwrap().dice = Some((StdRng::seed_from_u64(seed), chance));
    }

    pub fn behave(&self) {
        let mut books = self.books.lock().unwrap();
        books.dice = None;
        books.faults.clear();
    }

    pub fn calls(&self, on: On) -> usize {
        self.books.lock().unwrap().calls.get(&on).copied().unwrap_or(0)
    }

    /// What is held for a reference.
    pub fn holds(&self, reference: &str) -> Vec<Hold> {
        self.books
            .lock()
            .unwrap()
            .holds
            .values()
            .filter(|hold| hold.reference == reference)
            .cloned()
            .collect()
    }

    pub fn all_holds(&self) -> Vec<Hold> {
        self.books.lock().unwrap().holds.values().cloned().collect()
    }

    /// The next question is answered, before whatever faults wait for those after it.
    pub fn behave_for_one_lookup(&self) {
        self.books.lock().unwrap().spared_lookups += 1;
    }

    pub fn hold_ids(&self) -> Vec<String> {
        self.books.lock().unwrap().holds.keys().cloned().collect()
    }

    pub fn capture_ids(&self) -> Vec<String> {
        self.books.lock().unwrap().captures.keys().cloned().collect()
    }

    /// A request that nobody waits for any more takes effect.
    pub fn hold_behind_our_back(&self, reference: &str, amount: &str) -> String {
        let mut books = self.books.lock().unwrap();
        let id = books.id("auth");
        let hold =
            Hold { reference: reference.to_owned(), amount: amount.parse().unwrap(), ..Hold::default() };
        books.holds.insert(id.clone(), hold);
        id
    }

    /// Somebody lets go what is held, at the gateway itself.
    pub fn void_behind_our_back(&self, authorization: &str) {
        self.books.lock().unwrap().holds.get_mut(authorization).unwrap().voided = true;
    }

    /// Somebody takes what is held, at the gateway itself.
    pub fn capture_behind_our_back(&self, authorization: &str) -> String {
        let mut books = self.books.lock().unwrap();
        let id = books.id("cap");
        let hold = books.holds.get_mut(authorization).unwrap();
        hold.captured = hold.amount;
        books.captures.insert(id.clone(), authorization.to_owned());
        id
    }

    /// A capture arrives that was sent under `key` and given up.
    pub fn capture_late(&self, key: &str, authorization: &str) {
        let id = self.capture_behind_our_back(authorization);
        self.books.lock().unwrap().operations.insert(key.to_owned(), done(id));
    }

    fn fault(&self, on: On) -> Option<Fault> {
        let mut books = self.books.lock().unwrap();
        *books.calls.entry(on).or_default() += 1;
        if on == On::Lookup && books.spared_lookups > 0 {
            books.spared_lookups -= 1;
            return None;
        }
        if let Some(at) = books.faults.iter().position(|(of, _)| *of == on) {
            return books.faults.remove(at).map(|(_, fault)| fault);
        }
        let (dice, chance) = books.dice.as_mut()?;
        if !dice.random_bool(*chance) {
            return None;
        }
        let faults = [Fault::Lose, Fault::Error500, Fault::Down];
        Some(faults[dice.random_range(0..faults.len())].clone())
    }

    async fn serve(
        &self,
        on: On,
        key: &str,
        act: impl FnOnce(&mut Books) -> Answer,
    ) -> Result<Answer, GatewayError> {
        // As over a network: others run in between.
        tokio::task::yield_now().await;
        let fault = self.fault(on);
        let effect = || {
            let mut books = self.books.lock().unwrap();
            if let Some(answer) = books.operations.get(key) {
                return answer.clone();
            }
            let answer = act(&mut books);
            books.operations.insert(key.to_owned(), answer.clone());
            answer
        };
        let refuse = |answer: Answer| {
            self.books.lock().unwrap().operations.entry(key.to_owned()).or_insert(answer).clone()
        };
        let result = match fault {
            None => Ok(effect()),
            Some(Fault::Lose) => {
                effect();
                Err(GatewayError::Unknown("connection closed".to_owned()))
            }
            Some(Fault::DoneThenHang) => {
                effect();
                std::future::pending().await
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Error500) => Err(GatewayError::Unknown("answered 500".to_owned())),
            Some(Fault::Down) => {
                Err(GatewayError::Unavailable { message: "refused".to_owned(), retry_after: None })
            }
            Some(Fault::Decline) => Ok(refuse(Answer::Declined { code: "insufficient_funds".to_owned() })),
            Some(Fault::Reject) => Ok(refuse(Answer::Rejected {
                code: "nonsense".to_owned(),
                message: "no such thing".to_owned(),
            })),
        };
        tokio::task::yield_now().await;
        result
    }
}

impl Books {
    fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}_{}_{}", self.next, waybill_schema::new_id().simple())
    }
}

fn rejected(code: &str) -> Answer {
    Answer::Rejected { code: code.to_owned(), message: code.replace('_', " ") }
}

fn done(reference: String) -> Answer {
    Answer::Succeeded { reference, amount: None }
}

#[async_trait]
impl Gateway for FakeGateway {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn authorize(&self, key: &str, request: &Authorize) -> Result<Answer, GatewayError> {
        self.serve(On::Authorize, key, |books| {
            if request.token == "tok_declined" {
                return Answer::Declined { code: "card_declined".to_owned() };
            }
            let id = books.id("auth");
            let hold = Hold {
                reference: request.reference.clone(),
                amount: request.amount.amount(),
                ..Hold::default()
            };
            books.holds.insert(id.clone(), hold);
            done(id)
        })
        .await
    }

    async fn capture(&self, key: &str, request: &Capture) -> Result<Answer, GatewayError> {
        self.serve(On::Capture, key, |books| {
            let id = books.id("cap");
            let hold = books.holds.get_mut(&request.authorization_ref).unwrap();
            if hold.voided {
                return rejected("authorization_voided");
            }
            if hold.captured + request.amount.amount() > hold.amount {
                return rejected("capture_exceeds_authorized");
            }
            hold.captured += request.amount.amount();
            books.captures.insert(id.clone(), request.authorization_ref.clone());
            done(id)
        })
        .await
    }

    async fn void(&self, key: &str, request: &Void) -> Result<Answer, GatewayError> {
        self.serve(On::Void, key, |books| {
            let id = books.id("void");
            let hold = books.holds.get_mut(&request.authorization_ref).unwrap();
            if !hold.captured.is_zero() {
                return rejected(ALREADY_CAPTURED);
            }
            hold.voided = true;
            done(id)
        })
        .await
    }

    async fn refund(&self, key: &str, request: &Refund) -> Result<Answer, GatewayError> {
        self.serve(On::Refund, key, |books| {
            let id = books.id("ref");
            let of = books.captures.get(&request.capture_ref).cloned().unwrap();
            let hold = books.holds.get_mut(&of).unwrap();
            if hold.refunded + request.amount.amount() > hold.captured {
                return rejected("refund_exceeds_captured");
            }
            hold.refunded += request.amount.amount();
            done(id)
        })
        .await
    }

    async fn lookup(&self, key: &str, _: Operation) -> Result<Option<Answer>, GatewayError> {
        tokio::task::yield_now().await;
        match self.fault(On::Lookup) {
            None => Ok(self.books.lock().unwrap().operations.get(key).cloned()),
            Some(Fault::Hang | Fault::DoneThenHang) => std::future::pending().await,
            Some(Fault::Down) => {
                Err(GatewayError::Unavailable { message: "refused".to_owned(), retry_after: None })
            }
            Some(_) => Err(GatewayError::Unknown("answered 500".to_owned())),
        }
    }

    fn read_event(&self, _: &Value) -> Result<Fact, EventError> {
        panic!("the sandbox's adapter reads events")
    }
}
