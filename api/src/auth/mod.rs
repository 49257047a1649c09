//! Who calls, and what they may do.

mod caller;
mod guards;
mod limiter;
pub mod password;
mod scope;
pub mod secret;
mod token;

pub use self::{
    caller::{Caller, KeyCaller, User, identify},
    guards::{Allowed, SignedIn},
    limiter::{Attempt, LoginLimiter},
    password::Passwords,
    scope::{
        CatalogueWrite, ImportsWrite, OrdersRead, OrdersWrite, Scope, ScopeMarker, StockWrite, SystemRead,
        SystemWrite, UsersWrite, WebhooksWrite,
    },
    token::{Claims, Tokens},
};
