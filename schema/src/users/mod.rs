//! Accounts, sessions, tokens and API keys.

pub mod accounts;
pub mod api_keys;
pub mod sessions;
pub mod tokens;

pub use accounts::{NewUser, UserRow};
pub use api_keys::{ApiKeyRow, KeyHolder};
pub use sessions::{SessionRow, SessionUser};

crate::text_enum! {
    /// What a user is in the shop.
    pub enum UserRole {
        /// Buys.
        Customer = "customer",
        /// Sells own products.
        Vendor = "vendor",
        /// Runs the shop.
        Admin = "admin",
    }
}

crate::text_enum! {
    /// Whether a user may do anything at all.
    pub enum UserStatus {
        /// May.
        Active = "active",
        /// May not, whatever token is shown.
        Deactivated = "deactivated",
    }
}

crate::text_enum! {
    /// Why a session ended before its time.
    pub enum RevokedReason {
        /// The user logged out.
        Logout = "logout",
        /// The user logged out everywhere.
        LogoutAll = "logout_all",
        /// A refresh token came twice: one of the two holders is a thief.
        Reuse = "reuse",
        /// The user was deactivated.
        Deactivated = "deactivated",
    }
}
