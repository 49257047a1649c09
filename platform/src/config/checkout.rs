use std::time::Duration;

use super::reader::Reader;

/// How a checkout holds stock, and the shop's own currency.
#[derive(Debug, Clone)]
pub struct CheckoutConfig {
    /// How long reserved stock waits for its payment.
    pub reservation_ttl: Duration,
    /// How long a checkout waits for units that others hold in reserve before it is refused.
    pub stock_wait: Duration,
    /// ISO 4217 code of the shop's own currency.
    pub currency: String,
}

impl CheckoutConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("checkout");
        let iso = |text: &str| {
            let legal = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
            legal.then(|| text.to_owned())
        };
        let config = Self {
            reservation_ttl: section.duration("reservation_ttl", "5s"..="1d"),
            stock_wait: section.duration("stock_wait", "0s"..="5m"),
            currency: section.parsed(
                "currency",
                "an ISO 4217 code of three capital letters, as \"GBP\"",
                iso,
            ),
        };
        let both = ["checkout.stock_wait", "checkout.reservation_ttl"];
        if reader.usable(&both) && config.stock_wait >= config.reservation_ttl {
            reader.problem(both[0], "must be shorter than checkout.reservation_ttl");
        }
        config
    }
}
