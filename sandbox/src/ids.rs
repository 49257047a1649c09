//! Identifiers as providers print them: a prefix that says what they name, and a `UUIDv7`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// The text is not an identifier of the expected sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {0}<uuid>")]
pub(crate) struct IdError(&'static str);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) struct $name(Uuid);

        impl $name {
            pub(crate) fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|uuid| Uuid::try_parse(uuid).ok())
                    .map(Self)
                    .ok_or(IdError($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An authorization: money held on a card.
    AuthorizationId "auth_";
    /// A capture: held money taken.
    CaptureId "cap_";
    /// A void: held money let go.
    VoidId "void_";
    /// A refund: taken money given back.
    RefundId "ref_";
    /// A webhook event; it stays the same over all its deliveries.
    EventId "evt_";
}

impl AuthorizationId {
    /// Which of `lanes` queues carries this authorization's events, so that they leave in order.
    pub(crate) fn lane(self, lanes: usize) -> usize {
        // The low bits of a UUIDv7 are random; the high ones are the time and would fill one lane after another.
        let random = u64::from_be_bytes(self.0.into_bytes()[8..].try_into().unwrap_or_default());
        usize::try_from(random % lanes.max(1) as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn round_trips_and_refuses_other_prefixes() {
        let id = CaptureId::new();
        assert_eq!(id.to_string().parse::<CaptureId>(), Ok(id));
        assert!(id.to_string().parse::<RefundId>().is_err());
        assert!("cap_nonsense".parse::<CaptureId>().is_err());
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<CaptureId>(&json).unwrap(), id);
    }
}
