//! Money and state machines against independent, simpler models.

use proptest::prelude::*;
use rust_decimal::Decimal;
use waybill_schema::{CheckoutStep, Currency, Money, OrderStatus, PaymentStatus, Quantity, UnitPrice};

fn currency() -> impl Strategy<Value = Currency> {
    prop::sample::select(vec!["GBP", "EUR", "JPY", "BHD"]).prop_map(|code| Currency::parse(code).unwrap())
}

/// An amount of so many minor units.
fn money(minor: i64, currency: Currency) -> Money {
    Money::new(Decimal::new(minor, currency.decimals()), currency).unwrap()
}

/// Half away from zero by whole numbers alone: how many units of `10^drop` are in `value`.
fn rounded(value: i128, drop: u32) -> i128 {
    let unit = 10_i128.pow(drop);
    let (whole, rest) = (value / unit, (value % unit).abs());
    whole + if 2 * rest >= unit { value.signum() } else { 0 }
}

const MINOR: std::ops::Range<i64> = -1_000_000_000_000..1_000_000_000_000;

proptest! {
    #[test]
    fn sums_do_not_depend_on_order_or_grouping(a in MINOR, b in MINOR, c in MINOR, currency in currency()) {
        let (x, y, z) = (money(a, currency), money(b, currency), money(c, currency));
        let left = x.checked_add(y).unwrap().checked_add(z).unwrap();
        let right = y.checked_add(z).unwrap().checked_add(x).unwrap();
        prop_assert_eq!(left, right);
        prop_assert_eq!(left, money(a + b + c, currency));
        prop_assert_eq!(left.checked_sub(z).unwrap(), x.checked_add(y).unwrap());
        prop_assert_eq!(Money::sum([z, x, y], currency).unwrap(), left);
        // What is written has exactly the currency's decimals, and is read as the same.
        let text = left.amount().to_string();
        prop_assert_eq!(text.split_once('.').map_or(0, |(_, d)| d.len()), currency.decimals() as usize);
        prop_assert_eq!(Money::new(text.parse().unwrap(), currency).unwrap(), left);
    }

    #[test]
    fn a_line_is_rounded_half_away_from_zero(
        // Four decimals; 100,000.0000 at most, so that a million of them stay below the limit.
        price in 0_i64..1_000_000_000, quantity in 1_i64..=1_000_000, currency in currency()
    ) {
        let unit = UnitPrice::new(Decimal::new(price, 4), currency).unwrap();
        let total = unit.line_total(Quantity::new(quantity).unwrap()).unwrap();
        let expected = rounded(i128::from(price) * i128::from(quantity), 4 - currency.decimals());
        prop_assert_eq!(total.amount().mantissa(), expected);
        prop_assert_eq!(total.amount().scale(), currency.decimals());
    }

    #[test]
    fn an_order_is_the_sum_of_its_lines(
        lines in prop::collection::vec((0_i64..100_000_000, 1_i64..10_000), 0..50), currency in currency()
    ) {
        let totals: Vec<Money> = lines
            .iter()
            .map(|&(price, quantity)| {
                let unit = UnitPrice::new(Decimal::new(price, 4), currency).unwrap();
                unit.line_total(Quantity::new(quantity).unwrap()).unwrap()
            })
            .collect();
        let expected: i128 = lines
            .iter()
            .map(|&(price, quantity)| rounded(i128::from(price) * i128::from(quantity), 4 - currency.decimals()))
            .sum();
        prop_assert_eq!(Money::sum(totals, currency).unwrap().amount().mantissa(), expected);
    }

    #[test]
    fn no_amount_slips_in_with_more_decimals_than_its_currency(minor in MINOR, extra in 1_u32..8, currency in currency()) {
        let amount = Decimal::new(minor, currency.decimals() + extra);
        let slips = minor % 10_i64.pow(extra) != 0;
        prop_assert_eq!(Money::new(amount, currency).is_err(), slips);
    }

    #[test]
    fn currencies_never_mix(a in MINOR, b in MINOR) {
        let mixed = money(a, Currency::GBP).checked_add(money(b, Currency::EUR));
        prop_assert!(mixed.is_err());
    }

    #[test]
    fn prices_are_never_negative(price in 1_i64..1_000_000_000) {
        prop_assert!(UnitPrice::new(Decimal::new(-price, 4), Currency::GBP).is_err());
    }

    #[test]
    fn what_is_too_large_for_the_database_is_refused(over in 0_i64..1_000_000_000) {
        let amount = Decimal::from(1_000_000_000_000_000_i64 + over);
        prop_assert!(Money::new(amount, Currency::GBP).is_err());
        prop_assert!(UnitPrice::new(amount, Currency::GBP).is_err());
        let dear = UnitPrice::new(Decimal::from(999_999_999_999_999_i64), Currency::GBP).unwrap();
        prop_assert!(dear.line_total(Quantity::new(over.rem_euclid(1_000) + 2).unwrap()).is_err());
    }
}

/// Random walks over one machine: whatever is asked for, only what `legal_moves` lists happens, an end is an end, and what
/// was passed through obeys the machine's own promise.
macro_rules! walks {
    ($name:ident, $kind:ident, ends: [$($end:ident),+], |$path:ident| $promise:expr) => {
        proptest! {
            #[test]
            fn $name(wishes in prop::collection::vec(prop::sample::select($kind::ALL.to_vec()), 0..60)) {
                let ends = [$($kind::$end),+];
                let mut $path = vec![$kind::ALL[0]];
                for wish in wishes {
                    let at = $path[$path.len() - 1];
                    prop_assert_eq!(at.may_become(wish), at.legal_moves().contains(&wish));
                    prop_assert_eq!(ends.contains(&at), at.legal_moves().is_empty());
                    if at.may_become(wish) {
                        prop_assert!(!ends.contains(&at), "left the end {}", at);
                        $path.push(wish);
                    }
                }
                prop_assert!($promise, "{:?}", $path);
            }
        }
    };
}

walks!(an_order_walks_as_it_may, OrderStatus, ends: [Cancelled, Refunded], |path| {
    // Nothing comes back to pending, and nothing is shipped that was not confirmed.
    let shipped = path.contains(&OrderStatus::Shipped);
    let before_shipping =
        path.contains(&OrderStatus::Confirmed) && !path.contains(&OrderStatus::Cancelled);
    !path[1..].contains(&OrderStatus::Pending) && (!shipped || before_shipping)
});

walks!(a_checkout_walks_as_it_may, CheckoutStep, ends: [Completed, Compensated], |path| {
    // Every step at most once; only what is captured is completed; who turns back never completes.
    let mut seen = path.clone();
    seen.sort_unstable();
    seen.dedup();
    seen.len() == path.len()
        && (!path.contains(&CheckoutStep::Completed) || path.contains(&CheckoutStep::Captured))
        && !(path.contains(&CheckoutStep::Compensating) && path.contains(&CheckoutStep::Completed))
});

walks!(a_payment_walks_as_it_may, PaymentStatus, ends: [Voided, Declined, Failed, Refunded], |path| {
    // No money without a hold, none given back that was not taken, none let go that was taken.
    (!path.contains(&PaymentStatus::Captured) || path.contains(&PaymentStatus::Authorized))
        && (!path.contains(&PaymentStatus::Refunded) || path.contains(&PaymentStatus::Captured))
        && !(path.contains(&PaymentStatus::Captured) && path.contains(&PaymentStatus::Voided))
});

#[test]
fn every_state_can_be_reached_and_left_for_an_end() {
    macro_rules! reaches {
        ($kind:ident) => {
            let from = |start: $kind| {
                let mut seen = vec![start];
                let mut at = 0;
                while at < seen.len() {
                    let more: Vec<_> =
                        seen[at].legal_moves().iter().filter(|next| !seen.contains(next)).copied().collect();
                    seen.extend(more);
                    at += 1;
                }
                seen
            };
            assert_eq!(from($kind::ALL[0]).len(), $kind::ALL.len(), "not all can be reached");
            for state in $kind::ALL {
                assert!(from(*state).iter().any(|s| s.legal_moves().is_empty()), "{state} never ends");
            }
        };
    }
    reaches!(OrderStatus);
    reaches!(CheckoutStep);
    reaches!(PaymentStatus);
}
