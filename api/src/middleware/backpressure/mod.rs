//! Backpressure: work is refused at the door while too much of it waits inside, the least urgent first.
//!
//! What waits is measured by the age of each queue's first job, which is what a new one would have to wait. One cheap query a
//! second and process finds the ages; only of queues that lag it also asks how many jobs wait and how fast they go, for
//! `Retry-After`. When the database does not answer, everything is admitted: the request itself will find out.
//!
//! A request that comes with an `Idempotency-Key` may have been served already. It goes on to who knows, with the refusal in
//! its bag ([`Refused`]), and gets the answer of then, which adds no work.

mod class;
mod load;

use std::time::Duration;

use poem::{Endpoint, Middleware, Request, Result};

pub use self::{
    class::Class,
    load::{Load, Refusal, Waiting},
};
use crate::error::{ApiError, codes};

/// Refuses requests by their class.
pub struct Backpressure(Load);

impl Backpressure {
    /// By this measure.
    pub fn new(load: Load) -> Self {
        Self(load)
    }
}

impl<E: Endpoint> Middleware<E> for Backpressure {
    type Output = BackpressureEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        BackpressureEndpoint { inner, load: self.0.clone() }
    }
}

/// See [`Backpressure`].
pub struct BackpressureEndpoint<E> {
    inner: E,
    load: Load,
}

impl<E: Endpoint> Endpoint for BackpressureEndpoint<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> Result<E::Output> {
        let path = request.uri().path();
        if let Some(class) = Class::of(request.method(), path)
            && let Some(refusal) = self.load.refusal(class)
        {
            let refused = Refused { class, refusal };
            if !request.headers().contains_key("idempotency-key")
                || !Class::takes_keys(request.method(), path)
            {
                return Err(refused.error().into());
            }
            request.set_data(refused);
        }
        self.inner.call(request).await
    }
}

/// What a request is refused with unless it was served before.
#[derive(Debug, Clone)]
pub struct Refused {
    class: Class,
    refusal: Refusal,
}

impl Refused {
    /// Of this request. Only one that brings an `Idempotency-Key` has it: the others are refused before they get anywhere.
    pub fn of(request: &Request) -> Option<&Self> {
        request.data::<Self>()
    }

    /// Refuses, and counts it.
    pub fn error(&self) -> ApiError {
        let Self { class, refusal } = self;
        let queue = refusal.queue.clone();
        metrics::counter!("waybill_backpressure_refused_total", "class" => class.name(), "queue" => queue)
            .increment(1);
        let oldest = refusal.waiting.oldest.as_secs();
        let detail = format!(
            "too much work is waiting: the oldest of {} has waited for {oldest} s; this is taken again below {:.1} s",
            refusal.queue,
            refusal.release.as_secs_f64()
        );
        ApiError::new(class.status(), codes::OVERLOADED, detail)
            .with("queue", refusal.queue.as_str())
            .with("oldest_seconds", oldest)
            .retry_after(jittered(refusal.retry_after))
    }
}

/// Between four fifths of it and all of it, so that not everybody comes back at once; at least a second.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.8 + rand::random::<f64>() / 5.0).max(Duration::from_secs(1).min(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_everybody_comes_back_at_once_nor_later_than_the_longest() {
        let times: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_mins(10))).collect();
        assert!(times.iter().all(|time| (480..=600).contains(&time.as_secs())));
        let (first, last) = (times.iter().min(), times.iter().max());
        assert!(last.zip(first).is_some_and(|(last, first)| last.abs_diff(*first) > Duration::from_mins(1)));
        assert_eq!(jittered(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
