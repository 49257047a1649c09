//! Amounts: exact decimals in an ISO 4217 currency, never more decimals than the currency has.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest whole part of one amount, in digits. Sums of 10^15 such amounts still fit a [`Decimal`].
const MAX_WHOLE_DIGITS: usize = 12;

const NO_MINOR_UNIT: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";
const TWO_DECIMALS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN \
    BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL \
    HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR \
    MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE \
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG";

/// Why an amount or a currency is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoneyError {
    /// Not one of the active ISO 4217 codes.
    #[error("must be an upper-case ISO 4217 currency code")]
    Currency,
    /// Not plain digits with at most one point.
    #[error("must be a decimal string such as \"12.34\"")]
    Syntax,
    /// More decimals than the currency has.
    #[error("has more decimals than the currency allows ({0})")]
    Scale(u32),
    /// Zero: there is nothing to move.
    #[error("must be greater than zero")]
    Zero,
    /// More than [`MAX_WHOLE_DIGITS`] digits before the point.
    #[error("is too large: at most {MAX_WHOLE_DIGITS} digits before the point")]
    TooLarge,
}

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Currency {
    code: [u8; 3],
    /// Decimals of the minor unit: 2 for GBP, 0 for JPY, 3 for KWD.
    scale: u8,
}

impl Currency {
    pub(crate) fn scale(self) -> u32 {
        u32::from(self.scale)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or_default()
    }

    /// Nothing, printed with this currency's decimals.
    pub(crate) fn zero(self) -> Decimal {
        Decimal::new(0, self.scale())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        let listed = |list: &str| list.split_ascii_whitespace().any(|known| known == text);
        let scale = if listed(TWO_DECIMALS) {
            2
        } else if listed(NO_MINOR_UNIT) {
            0
        } else if listed(THREE_DECIMALS) {
            3
        } else {
            return Err(MoneyError::Currency);
        };
        Ok(Self { code, scale })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A positive amount with exactly its currency's decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Money {
    #[serde(with = "rust_decimal::serde::str")]
    pub(crate) amount: Decimal,
    pub(crate) currency: Currency,
}

impl Money {
    /// Reads `amount` strictly: no sign, no exponent, no separators, so that nothing is guessed about money.
    pub(crate) fn parse(amount: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(MoneyError::Syntax);
        }
        if whole.trim_start_matches('0').len() > MAX_WHOLE_DIGITS {
            return Err(MoneyError::TooLarge);
        }
        let significant = fraction.trim_end_matches('0');
        if significant.len() > currency.scale as usize {
            return Err(MoneyError::Scale(currency.scale()));
        }
        let mut amount: Decimal = format!("0{}.{significant}0", whole.trim_start_matches('0'))
            .parse()
            .map_err(|_| MoneyError::Syntax)?;
        amount.rescale(currency.scale());
        if amount.is_zero() {
            return Err(MoneyError::Zero);
        }
        Ok(Self { amount, currency })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(amount: &str, currency: &str) -> Result<String, MoneyError> {
        Money::parse(amount, currency.parse()?).map(|money| money.amount.to_string())
    }

    #[test]
    fn takes_what_the_currency_allows_and_prints_it_in_full() {
        assert_eq!(parse("12.34", "GBP").unwrap(), "12.34");
        assert_eq!(parse("12.3", "GBP").unwrap(), "12.30");
        assert_eq!(parse("12.3400", "GBP").unwrap(), "12.34");
        assert_eq!(parse("500", "JPY").unwrap(), "500");
        assert_eq!(parse("1.234", "KWD").unwrap(), "1.234");
        assert_eq!(parse("000000000000000000001", "EUR").unwrap(), "1.00");
        assert_eq!(parse("999999999999.99", "EUR").unwrap(), "999999999999.99");
    }

    #[test]
    fn refuses_what_is_not_an_amount() {
        for text in
            ["", ".", "-1", "+1", "1e3", "1_000", "1,50", ".5", "5.", " 1", "0x1", "NaN", "1.2.3", "١"]
        {
            assert_eq!(parse(text, "GBP"), Err(MoneyError::Syntax), "{text:?}");
        }
        assert_eq!(parse("12.345", "GBP"), Err(MoneyError::Scale(2)));
        assert_eq!(parse("1.5", "JPY"), Err(MoneyError::Scale(0)));
        assert_eq!(parse("0.00", "GBP"), Err(MoneyError::Zero));
        assert_eq!(parse("1000000000000", "GBP"), Err(MoneyError::TooLarge));
        for code in ["gbp", "GB", "GBPP", "ZZZ", "", "€"] {
            assert_eq!(parse("1", code), Err(MoneyError::Currency), "{code:?}");
        }
    }
}
