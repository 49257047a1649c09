//! Whatever is asked in whatever order: the books balance, and a journal makes the same books again.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::gateway::{Answer, Gateway, Step};
use crate::model::{Command, Token};
use crate::money::Money;
use crate::webhooks::{Dispatcher, Settings};

/// One request, its targets as indices into what was made so far.
#[derive(Debug, Clone)]
enum Ask {
    Authorize {
        cents: u32,
        token: Token,
        reference: u8,
    },
    Capture {
        nth: usize,
        cents: u32,
        currency: &'static str,
    },
    Void {
        nth: usize,
    },
    Refund {
        nth: usize,
        cents: u32,
    },
    /// The same key and request as an earlier one.
    Again {
        nth: usize,
    },
    /// The key of an earlier one, with another request.
    Reuse {
        nth: usize,
    },
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let token = prop_oneof![4 => Just(Token::Visa), 1 => Just(Token::Declined), 1 => Just(Token::ErrorOnce)];
    let ask = prop_oneof![
        3 => (1..2_000_u32, token, 0..6_u8)
            .prop_map(|(cents, token, reference)| Ask::Authorize { cents, token, reference }),
        6 => (0..8_usize, 1..1_500_u32, prop_oneof![9 => Just("GBP"), 1 => Just("EUR")])
            .prop_map(|(nth, cents, currency)| Ask::Capture { nth, cents, currency }),
        1 => (0..8_usize).prop_map(|nth| Ask::Void { nth }),
        5 => (0..8_usize, 1..800_u32).prop_map(|(nth, cents)| Ask::Refund { nth, cents }),
        3 => (0..40_usize).prop_map(|nth| Ask::Again { nth }),
        1 => (0..40_usize).prop_map(|nth| Ask::Reuse { nth }),
    ];
    prop::collection::vec(ask, 1..60)
}

fn money(cents: u32, currency: &str) -> Money {
    Money::parse(&Decimal::new(cents.into(), 2).to_string(), currency.parse().unwrap()).unwrap()
}

fn gateway(journal: Option<&std::path::Path>) -> Arc<Gateway> {
    let (dispatcher, _) = Dispatcher::new(Settings { lanes: 1, queue: 1, attempts: 1 }, None);
    Arc::new(Gateway::open(journal, false, Some(1), dispatcher).unwrap())
}

#[derive(Default)]
struct Client {
    authorizations: Vec<String>,
    captures: Vec<String>,
    /// Decided requests with their answers.
    sent: Vec<(Arc<str>, Command, String)>,
}

impl Client {
    fn command(&self, ask: &Ask) -> Option<(Arc<str>, Command)> {
        let pick = |ids: &[String], nth: usize| (!ids.is_empty()).then(|| ids[nth % ids.len()].clone());
        let command = match ask {
            Ask::Authorize { cents, token, reference } => Command::Authorize {
                money: money(*cents, "GBP"),
                token: *token,
                reference: format!("order-{reference}").into(),
            },
            Ask::Capture { nth, cents, currency } => Command::Capture {
                authorization: pick(&self.authorizations, *nth)?.parse().unwrap(),
                money: money(*cents, currency),
            },
            Ask::Void { nth } => {
                Command::Void { authorization: pick(&self.authorizations, *nth)?.parse().unwrap() }
            }
            Ask::Refund { nth, cents } => Command::Refund {
                capture: pick(&self.captures, *nth)?.parse().unwrap(),
                money: money(*cents, "GBP"),
            },
            Ask::Again { nth } | Ask::Reuse { nth } => {
                let (key, command, _) = self.sent.get(nth % self.sent.len().max(1))?;
                let other = Command::Authorize {
                    money: money(999_999, "GBP"),
                    token: Token::Visa,
                    reference: "other".into(),
                };
                let command = if matches!(ask, Ask::Again { .. }) { command.clone() } else { other };
                return Some((Arc::clone(key), command));
            }
        };
        Some((format!("key-{}", self.sent.len()).into(), command))
    }

    fn learn(&mut self, key: Arc<str>, command: Command, answer: &Answer) {
        let body: Value = serde_json::from_str(answer.body.get()).unwrap();
        if answer.status_code == 201 || answer.status_code == 402 {
            let id = body["id"].as_str().unwrap().to_owned();
            match command {
                Command::Authorize { .. } => self.authorizations.push(id),
                Command::Capture { .. } => self.captures.push(id),
                Command::Void { .. } | Command::Refund { .. } => {}
            }
        }
        self.sent.push((key, command, answer.body.get().to_owned()));
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

/// Sums the ledger itself and holds it against the limits, the objects and the summary.
fn check_books(gateway: &Gateway, authorizations: &[String]) -> Result<(), TestCaseError> {
    let entries = serde_json::to_value(gateway.ledger_page(0, 1_000)).unwrap();
    let mut sums: HashMap<(String, String), Decimal> = HashMap::new();
    for (index, entry) in entries["data"].as_array().unwrap().iter().enumerate() {
        prop_assert_eq!(entry["seq"].as_u64().unwrap(), index as u64 + 1);
        let key = |field: &str| entry[field].as_str().unwrap().to_owned();
        *sums.entry((key("authorization_id"), key("kind"))).or_default() += decimal(&entry["amount"]);
    }
    let (mut captured, mut refunded) = (Decimal::ZERO, Decimal::ZERO);
    for id in authorizations {
        let object =
            gateway.authorization(id.parse().unwrap(), |held| serde_json::to_value(held).unwrap()).unwrap();
        let sum = |kind: &str| sums.get(&(id.clone(), kind.to_owned())).copied().unwrap_or_default();
        prop_assert!(sum("capture") <= sum("authorize"), "captured more than authorised");
        prop_assert!(sum("refund") <= sum("capture"), "refunded more than captured");
        prop_assert!(sum("void").is_zero() || sum("capture").is_zero(), "both voided and captured");
        prop_assert_eq!(decimal(&object["captured"]), sum("capture"));
        prop_assert_eq!(decimal(&object["refunded"]), sum("refund"));
        prop_assert_eq!(object["voided"].as_bool().unwrap(), !sum("void").is_zero());
        captured += sum("capture");
        refunded += sum("refund");
    }
    let summary = serde_json::to_value(gateway.summary()).unwrap();
    let total = |name: &str| summary[name].get("GBP").map(decimal).unwrap_or_default();
    prop_assert_eq!(total("captured"), captured);
    prop_assert_eq!(total("refunded"), refunded);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_and_survive_a_restart(asks in asks()) {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.jsonl");
        let first = gateway(Some(&journal));
        let mut client = Client::default();
        for ask in &asks {
            let Some((key, command)) = client.command(ask) else { continue };
            let before = serde_json::to_string(&first.summary()).unwrap();
            let result = first.submit(&key, command.clone());
            let unchanged = before == serde_json::to_string(&first.summary()).unwrap();
            match (ask, result) {
                (Ask::Again { nth }, Ok(Step::Answer(answer))) => {
                    let (_, _, stored) = &client.sent[nth % client.sent.len()];
                    prop_assert!(answer.replayed && unchanged);
                    prop_assert_eq!(answer.body.get(), stored);
                }
                (Ask::Reuse { .. }, Err(refusal)) => {
                    prop_assert_eq!(refusal.code(), "idempotency_key_reused");
                    prop_assert!(unchanged);
                }
                (Ask::Again { .. } | Ask::Reuse { .. }, _) => prop_assert!(false, "an old key did something new"),
                (_, Ok(Step::Answer(answer))) => {
                    prop_assert!(!answer.replayed);
                    prop_assert!(answer.status_code != 409 || unchanged);
                    client.learn(key, command, &answer);
                }
                (_, Ok(_)) => prop_assert!(false, "no fault was asked for"),
                (_, Err(_)) => prop_assert!(unchanged, "refused, and yet something happened"),
            }
            check_books(&first, &client.authorizations)?;
        }

        let page = |gateway: &Gateway| serde_json::to_string(&gateway.ledger_page(0, 1_000)).unwrap();
        let (ledger, summary) = (page(&first), first.summary());
        drop(first);
        let second = gateway(Some(&journal));
        prop_assert_eq!(page(&second), ledger);
        prop_assert_eq!(second.summary(), summary);
        check_books(&second, &client.authorizations)?;
        for (key, command, stored) in client.sent {
            match second.submit(&key, command) {
                Ok(Step::Answer(answer)) => {
                    prop_assert!(answer.replayed);
                    prop_assert_eq!(answer.body.get(), stored);
                }
                _ => prop_assert!(false, "the restarted gateway forgot a key"),
            }
        }
    }
}
