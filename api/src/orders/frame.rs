//! Server-sent events as bytes.

use bytes::Bytes;
use poem_openapi::types::ToJSON;

use super::dto::OrderDto;

/// A comment that keeps proxies from closing a quiet connection.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");
/// How long a client waits before it connects again, in milliseconds.
pub const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// `event: order` with the version as its id. JSON has no line breaks, so it is one line of data.
pub fn order(order: &OrderDto) -> Bytes {
    format!("id: {}\nevent: order\ndata: {}\n\n", order.version, order.to_json_string()).into()
}
