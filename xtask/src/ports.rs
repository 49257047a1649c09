//! Loopback ports that are free now and likely to stay so.

use std::net::TcpListener;

use anyhow::{Result, bail};
use rand::Rng;

/// Below the range from which kernels take ports for outgoing connections, so that a service which
/// is stopped for a while finds its port free when it starts again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

pub fn free() -> Result<u16> {
    let mut random = rand::rng();
    for _ in 0..200 {
        let port = random.random_range(RANGE);
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end)
}

/// `wanted` when it is free, else another.
pub fn keep_or_free(wanted: Option<u16>) -> Result<u16> {
    match wanted {
        Some(port) if is_free(port) => Ok(port),
        _ => free(),
    }
}
