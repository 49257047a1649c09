//! Identifiers.

use uuid::Uuid;

/// A new UUIDv7 (RFC 9562): sorts by creation time, so it serves as key and as cursor.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
