//! Requests per client.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter as Governor,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use poem::http::HeaderValue;
use waybill_platform::config::RateLimitConfig;

use super::ClientAddr;
use crate::error::{ApiError, ApiResult};

type Keyed = Governor<IpAddr, DefaultKeyedStateStore<IpAddr>, DefaultClock, StateInformationMiddleware>;

/// Clients remembered before those whose bucket is full again are forgotten.
const SWEEP_AT: usize = 50_000;

/// A token bucket per client address, or nothing when switched off.
pub struct RateLimiter {
    keyed: Option<Keyed>,
    policy: HeaderValue,
}

/// What a client has left.
pub struct Left(u32);

impl Left {
    /// The value of `RateLimit`.
    pub fn header(&self) -> String {
        format!("\"default\";r={}", self.0)
    }
}

impl RateLimiter {
    /// As configured.
    pub fn new(config: &RateLimitConfig) -> Self {
        let rate = NonZeroU32::new(config.requests_per_minute).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(config.burst).unwrap_or(NonZeroU32::MIN);
        let keyed = config
            .enabled
            .then(|| Governor::keyed(Quota::per_minute(rate).allow_burst(burst)).with_middleware());
        let policy = HeaderValue::from_str(&format!("\"default\";q={rate};w=60"));
        Self { keyed, policy: policy.unwrap_or(HeaderValue::from_static("\"default\"")) }
    }

    /// The value of `RateLimit-Policy`.
    pub fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// Counts a request, or refuses it. The host itself is not counted: whoever is on it is a developer, a health check,
    /// or a proxy that was not declared and behind which everybody would share one bucket.
    pub fn check(&self, client: ClientAddr) -> ApiResult<Option<Left>> {
        let Some(keyed) = &self.keyed else { return Ok(None) };
        let network = client.network();
        if network.is_loopback() {
            return Ok(None);
        }
        if keyed.len() > SWEEP_AT {
            keyed.retain_recent();
        }
        match keyed.check_key(&network) {
            Ok(state) => Ok(Some(Left(state.remaining_burst_capacity()))),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                Err(ApiError::rate_limited(
                    "too many requests from this address",
                    wait.max(Duration::from_secs(1)),
                ))
            }
        }
    }
}
