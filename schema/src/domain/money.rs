//! Exact decimal money.
//!
//! Rounding is stated once, here: a line's total is unit price x quantity rounded to the currency's decimals, half away
//! from zero (the commercial rule); every other sum is of amounts that are already rounded, so it is exact.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use super::{currency::Currency, quantity::Quantity};

/// Why a decimal is no amount of money here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies in one sum.
    #[error("cannot combine {0} with {1}")]
    CurrencyMismatch(Currency, Currency),
    /// More decimals than the currency (or a unit price) has.
    #[error("{amount} has more than {decimals} decimals")]
    TooManyDecimals {
        /// The amount given.
        amount: Decimal,
        /// The decimals allowed.
        decimals: u32,
    },
    /// Prices are not negative.
    #[error("{0} is negative")]
    Negative(Decimal),
    /// Outside `numeric(19, 4)`.
    #[error("the amount is too large")]
    TooLarge,
}

/// Below the 15 integer digits of `numeric(19, 4)`.
const LIMIT: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0); // 10^15

/// An amount of money, at the currency's decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Money {
    /// Decimal text, at the currency's decimals.
    amount: Decimal,
    /// ISO 4217 code.
    #[schemars(with = "String", regex(pattern = r"^[A-Z]{3}$"))]
    currency: Currency,
}

impl Money {
    /// An amount that has no more decimals than its currency.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let decimals = currency.decimals();
        if amount.normalize().scale() > decimals {
            return Err(MoneyError::TooManyDecimals { amount, decimals });
        }
        if amount.abs() >= LIMIT {
            return Err(MoneyError::TooLarge);
        }
        let mut amount = amount;
        amount.rescale(decimals);
        Ok(Self { amount, currency })
    }

    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { amount: Decimal::new(0, currency.decimals()), currency }
    }

    /// The amount, with exactly the currency's decimals.
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum of two amounts of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::TooLarge)?;
        Self::new(amount, self.currency)
    }

    /// The difference of two amounts of one currency; may be negative.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let amount = self.amount.checked_sub(other.amount).ok_or(MoneyError::TooLarge)?;
        Self::new(amount, self.currency)
    }

    /// The sum of any number of amounts, zero for none.
    pub fn sum(amounts: impl IntoIterator<Item = Self>, currency: Currency) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// The price of one piece: up to four decimals, never negative (wholesalers price in fractions of a penny).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPrice {
    amount: Decimal,
    currency: Currency,
}

impl UnitPrice {
    /// Decimals a unit price may have.
    pub const DECIMALS: u32 = 4;

    /// A price of zero or more with at most four decimals.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(MoneyError::Negative(amount));
        }
        if amount.normalize().scale() > Self::DECIMALS {
            return Err(MoneyError::TooManyDecimals { amount, decimals: Self::DECIMALS });
        }
        if amount >= LIMIT {
            return Err(MoneyError::TooLarge);
        }
        Ok(Self { amount: amount.normalize(), currency })
    }

    /// The price.
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Price x quantity, rounded half away from zero to the currency's decimals.
    pub fn line_total(self, quantity: Quantity) -> Result<Money, MoneyError> {
        let exact = self.amount.checked_mul(Decimal::from(quantity.get())).ok_or(MoneyError::TooLarge)?;
        let rounded =
            exact.round_dp_with_strategy(self.currency.decimals(), RoundingStrategy::MidpointAwayFromZero);
        Money::new(rounded, self.currency)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_ten_to_the_fifteenth() {
        assert_eq!(LIMIT, Decimal::from(1_000_000_000_000_000_i64));
    }

    #[test]
    fn a_line_is_rounded_half_away_from_zero() {
        let price = UnitPrice::new("0.125".parse().unwrap(), Currency::GBP).unwrap();
        assert_eq!(price.line_total(Quantity::new(1).unwrap()).unwrap().to_string(), "0.13 GBP");
        assert_eq!(price.line_total(Quantity::new(3).unwrap()).unwrap().to_string(), "0.38 GBP");
    }

    #[test]
    fn currencies_do_not_mix_and_decimals_do_not_slip_in() {
        let pound = Money::new("1.00".parse().unwrap(), Currency::GBP).unwrap();
        let euro = Money::new("1".parse().unwrap(), Currency::EUR).unwrap();
        assert!(matches!(pound.checked_add(euro), Err(MoneyError::CurrencyMismatch(..))));
        assert!(Money::new("1.001".parse().unwrap(), Currency::GBP).is_err());
        assert_eq!(euro.to_string(), "1.00 EUR");
    }
}
