//! Postal addresses, checked and trimmed.

use crate::{error::FieldErrors, orders::dto::Address};

/// The address with every text trimmed, or errors below `field`.
pub fn parse(address: &Address, field: &str, errors: &mut FieldErrors) -> Address {
    let at = |name: &str| format!("{field}.{name}");
    let country = address.country.trim().to_ascii_uppercase();
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        errors.add(
            at("country"),
            "invalid",
            "must be a country code of two letters (ISO 3166-1), such as GB",
        );
    }
    Address {
        name: errors.text(&at("name"), &address.name, 1, 200),
        line1: errors.text(&at("line1"), &address.line1, 1, 200),
        line2: errors.optional_text(&at("line2"), address.line2.as_deref(), 200),
        city: errors.text(&at("city"), &address.city, 1, 100),
        region: errors.optional_text(&at("region"), address.region.as_deref(), 100),
        postal_code: errors.optional_text(&at("postal_code"), address.postal_code.as_deref(), 20),
        country,
        phone: errors.optional_text(&at("phone"), address.phone.as_deref(), 40),
    }
}
