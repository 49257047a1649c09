//! Requests per client.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

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

/// Seconds between two rounds of forgetting, each of which looks at every client: it must not be one for each request.
const SWEEP_EVERY: u64 = 1;

/// A token bucket per client address, or nothing when switched off.
pub struct RateLimiter {
    keyed: Option<Keyed>,
    policy: HeaderValue,
    started: Instant,
    /// The second, counted from the start, from which on the next round may be.
    sweep_from: AtomicU64,
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
        Self {
            keyed,
            policy: policy.unwrap_or(HeaderValue::from_static("\"default\"")),
            started: Instant::now(),
            sweep_from: AtomicU64::new(0),
        }
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
        if self.may_sweep(self.started.elapsed().as_secs(), keyed.len()) {
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

    /// Whether it is this request that makes room: one in a second, once there are many clients.
    fn may_sweep(&self, now: u64, clients: usize) -> bool {
        let from = self.sweep_from.load(Ordering::Relaxed);
        clients > SWEEP_AT
            && now >= from
            && self
                .sweep_from
                .compare_exchange(from, now + SWEEP_EVERY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use waybill_platform::Config;

    use super::*;

    fn limiter() -> RateLimiter {
        let variables = [
            ("WAYBILL_DATABASE__URL", "postgres://host/name"),
            ("WAYBILL_RATE_LIMIT__REQUESTS_PER_MINUTE", "1"),
            ("WAYBILL_RATE_LIMIT__BURST", "2"),
        ];
        RateLimiter::new(&Config::from_variables(variables).unwrap().rate_limit)
    }

    #[test]
    fn room_is_made_once_a_second_however_many_clients_there_are() {
        let limiter = limiter();
        let sweeps = |second: u64| (0..1_000).filter(|_| limiter.may_sweep(second, SWEEP_AT + 1)).count();
        assert!(!limiter.may_sweep(7, SWEEP_AT), "there is room");
        assert_eq!((sweeps(7), sweeps(7), sweeps(8), sweeps(60)), (1, 0, 1, 1));
    }

    #[test]
    fn whoever_has_used_up_the_burst_is_still_known_after_a_round() {
        let limiter = limiter();
        let keyed = limiter.keyed.as_ref().unwrap();
        let greedy = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        for _ in 0..2 {
            assert!(keyed.check_key(&greedy).is_ok());
        }
        for n in 0..u32::try_from(SWEEP_AT + 10).unwrap() {
            let _ = keyed.check_key(&IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)));
        }
        assert!(limiter.may_sweep(0, keyed.len()));
        keyed.retain_recent();
        assert!(keyed.check_key(&greedy).is_err());
    }
}
