//! The stable codes of problems: what programs compare. `type` is `/problems/<code>`.

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        $($(#[$meta])* pub const $name: &str = $code;)*

        /// The title that goes with a code.
        pub fn title(code: &str) -> &'static str {
            match code {
                $($code => $title,)*
                _ => "The request cannot be served",
            }
        }

        /// Every code with its title, for the documentation.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title),)*];
    };
}

codes! {
    /// 422.
    VALIDATION = "validation", "Some fields cannot be used";
    /// 400.
    MALFORMED = "malformed", "The request cannot be read";
    /// 401.
    UNAUTHENTICATED = "unauthenticated", "Credentials are required";
    /// 401, at log-in.
    INVALID_CREDENTIALS = "invalid_credentials", "The credentials are wrong";
    /// 401, at refresh.
    TOKEN_REUSED = "token_reused", "The token was used before";
    /// 403.
    FORBIDDEN = "forbidden", "Not allowed";
    /// 404.
    NOT_FOUND = "not_found", "Not found";
    /// 405.
    METHOD_NOT_ALLOWED = "method_not_allowed", "The resource does not know this method";
    /// 409.
    CONFLICT = "conflict", "The request conflicts with the present state";
    /// 409, at registration.
    EMAIL_TAKEN = "email_taken", "The address has an account";
    /// 409, names the moves there are.
    ILLEGAL_MOVE = "illegal_move", "The state does not allow this move";
    /// 409, with `Retry-After`.
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress", "A request with this key is under way";
    /// 422.
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch", "The key belongs to another request";
    /// 409, says what is available.
    OUT_OF_STOCK = "out_of_stock", "Not enough in stock";
    /// 409, says the total.
    TOTAL_CHANGED = "total_changed", "The total is another one";
    /// 412, says the present tag.
    PRECONDITION_FAILED = "precondition_failed", "It has changed since you read it";
    /// 413.
    PAYLOAD_TOO_LARGE = "payload_too_large", "The body is too large";
    /// 415.
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", "The body has the wrong media type";
    /// 429, with `Retry-After`.
    RATE_LIMITED = "rate_limited", "Too many requests";
    /// 429, or 503 for orders, with `Retry-After`: too much work waits.
    OVERLOADED = "overloaded", "Too much work is waiting";
    /// 500.
    INTERNAL = "internal", "Something went wrong on our side";
    /// 503, with `Retry-After`.
    UNAVAILABLE = "unavailable", "Not available at the moment";
}
