//! Requests that are refused together.

use poem::http::{Method, StatusCode};
use waybill_jobs::queues;
use waybill_platform::config::{BackpressureConfig, ClassLimits};
use waybill_schema::system::load::OUTBOX;

/// A class of requests that are refused together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Uploads of files.
    Bulk,
    /// Other writes that cause jobs.
    Writes,
    /// Orders.
    Orders,
}

/// The address of checkouts, which take an `Idempotency-Key`.
const CHECKOUT: &str = "/v1/checkout";
/// The address of uploads, likewise.
const IMPORTS: &str = "/v1/admin/imports";

impl Class {
    /// Every class, the first to be refused first.
    pub const ALL: [Self; 3] = [Self::Bulk, Self::Writes, Self::Orders];

    /// Its name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Writes => "writes",
            Self::Orders => "orders",
        }
    }

    /// The class of a request; none for what adds no work (reading, carts, signing in), brings money's news (the gateway's
    /// webhooks), or is an operator's: whoever mends an overload must not be locked out by it.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let below =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below(CHECKOUT) {
            return Some(Self::Orders);
        }
        if below(IMPORTS) {
            return Some(Self::Bulk);
        }
        let writes = [
            "/v1/auth/register",
            "/v1/admin/products",
            "/v1/admin/variants",
            "/v1/admin/categories",
            "/v1/admin/stock",
        ];
        writes.into_iter().any(below).then_some(Self::Writes)
    }

    /// Whether a request of the kind takes an `Idempotency-Key`, and so may have an answer that adds no work. Who serves it
    /// asks [`Refused::of`](super::Refused::of).
    pub(super) fn takes_keys(method: &Method, path: &str) -> bool {
        *method == Method::POST && matches!(path.trim_end_matches('/'), CHECKOUT | IMPORTS)
    }

    /// The age of a queue at which the class is refused; none if it does not matter to it.
    pub(super) fn limit(self, config: &BackpressureConfig, queue: &str) -> Option<std::time::Duration> {
        let limits = self.limits(config);
        let own = self.adds_to(queue).then_some(limits.queue);
        let checkout = (queue == queues::CHECKOUT).then_some(limits.checkout);
        own.or(checkout).filter(|limit| !limit.is_zero())
    }

    /// What a refused client is answered.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Orders => StatusCode::SERVICE_UNAVAILABLE,
            Self::Bulk | Self::Writes => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn limits(self, config: &BackpressureConfig) -> ClassLimits {
        match self {
            Self::Bulk => config.bulk,
            Self::Writes => config.writes,
            Self::Orders => config.orders,
        }
    }

    /// Whether its requests add to a queue.
    fn adds_to(self, queue: &str) -> bool {
        let events = queue == OUTBOX || queue.starts_with("events.");
        match self {
            Self::Bulk => events || queue == queues::IMPORTS || queue == queues::IMPORT_PARTS,
            Self::Writes => events || queue == queues::MAIL || queue == queues::WEBHOOKS,
            Self::Orders => events || queue == queues::MAIL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_class_of_the_work_they_add() {
        let of = |method: Method, path: &str| Class::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/checkout"), Some(Class::Orders));
        assert_eq!(of(Method::POST, "/v1/admin/imports"), Some(Class::Bulk));
        assert_eq!(of(Method::PATCH, "/v1/admin/products/1"), Some(Class::Writes));
        assert_eq!(of(Method::POST, "/v1/auth/register"), Some(Class::Writes));
        for path in ["/v1/carts", "/v1/auth/login", "/v1/gateways/sandbox/webhooks", "/v1/admin/jobs/bulk"] {
            assert_eq!(of(Method::POST, path), None, "{path}");
        }
        assert_eq!(of(Method::GET, "/v1/admin/imports"), None);
        assert_eq!(of(Method::POST, "/v1/checkouts"), None);
    }

    #[test]
    fn only_what_takes_a_key_may_have_been_answered_before() {
        assert!(Class::takes_keys(&Method::POST, "/v1/checkout"));
        assert!(Class::takes_keys(&Method::POST, "/v1/admin/imports/"));
        assert!(!Class::takes_keys(&Method::POST, "/v1/auth/register"));
        assert!(!Class::takes_keys(&Method::PUT, "/v1/checkout"));
    }
}
