//! What a caller may be allowed to do.

waybill_schema::text_enum! {
    /// A permission of an API key. Administrators have all but [`AgreedPrices`](Self::AgreedPrices), which only a key can
    /// have.
    pub enum Scope {
        /// Change categories, products and variants.
        CatalogueWrite = "catalogue:write",
        /// See and change stock.
        StockWrite = "stock:write",
        /// Upload files of products and stock.
        ImportsWrite = "imports:write",
        /// See every order.
        OrdersRead = "orders:read",
        /// Place orders for customers.
        OrdersWrite = "orders:write",
        /// Set the price of an order's line.
        AgreedPrices = "orders:agreed_price",
        /// Manage webhook endpoints.
        WebhooksWrite = "webhooks:write",
        /// See queues, jobs and checks.
        SystemRead = "system:read",
        /// Change how the system runs: schedules, queues, jobs and dead letters.
        SystemWrite = "system:write",
    }
}

/// A permission known when the program is compiled; see [`Allowed`](super::Allowed).
pub trait ScopeMarker: Send + Sync + 'static {
    /// The scope; none means that no API key can have it, only an administrator.
    const SCOPE: Option<Scope>;
}

macro_rules! markers {
    ($($(#[$meta:meta])* $name:ident => $scope:expr;)*) => {
        $($(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl ScopeMarker for $name {
            const SCOPE: Option<Scope> = $scope;
        })*
    };
}

markers! {
    /// [`Scope::CatalogueWrite`].
    CatalogueWrite => Some(Scope::CatalogueWrite);
    /// [`Scope::StockWrite`].
    StockWrite => Some(Scope::StockWrite);
    /// [`Scope::ImportsWrite`].
    ImportsWrite => Some(Scope::ImportsWrite);
    /// [`Scope::OrdersRead`].
    OrdersRead => Some(Scope::OrdersRead);
    /// [`Scope::OrdersWrite`].
    OrdersWrite => Some(Scope::OrdersWrite);
    /// [`Scope::WebhooksWrite`].
    WebhooksWrite => Some(Scope::WebhooksWrite);
    /// [`Scope::SystemRead`].
    SystemRead => Some(Scope::SystemRead);
    /// [`Scope::SystemWrite`].
    SystemWrite => Some(Scope::SystemWrite);
    /// Users and API keys: administrators in person only, so that no key can make another.
    UsersWrite => None;
}
