//! Words in a query, separated by commas.

use crate::error::{ApiError, ApiResult};

/// The names in a parameter, each of which is a known one; none if there is no parameter.
pub fn names(field: &str, given: Option<&str>, known: &[&str]) -> ApiResult<Vec<String>> {
    let names = given.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            if known.contains(&name) {
                Ok(name.to_owned())
            } else {
                Err(ApiError::field(field, "invalid", format!("is none of {}", known.join(", "))))
            }
        })
        .collect()
}
