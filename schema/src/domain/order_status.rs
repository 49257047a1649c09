//! The order's state machine, and the checkout saga's.

crate::text_enum! {
    /// Where an order is in its life.
    pub enum OrderStatus {
        /// Accepted; the checkout saga is at work.
        Pending = "pending",
        /// Paid, stock sold.
        Confirmed = "confirmed",
        /// Being picked and packed.
        Processing = "processing",
        /// Handed to a carrier.
        Shipped = "shipped",
        /// Arrived.
        Delivered = "delivered",
        /// Ended before shipping; stock and money are back.
        Cancelled = "cancelled",
        /// The money is back after delivery.
        Refunded = "refunded",
    }
}

impl OrderStatus {
    /// The statuses that may follow this one.
    pub const fn legal_moves(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Confirmed, Self::Cancelled],
            Self::Confirmed => &[Self::Processing, Self::Cancelled],
            Self::Processing => &[Self::Shipped, Self::Cancelled],
            Self::Shipped => &[Self::Delivered],
            Self::Delivered => &[Self::Refunded],
            Self::Cancelled | Self::Refunded => &[],
        }
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        self.legal_moves().contains(&next)
    }

    /// Whether the checkout has come to its end.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Pending)
    }
}

crate::text_enum! {
    /// Where the checkout saga of an order stands; each value is a durable fact, not an intention.
    pub enum CheckoutStep {
        /// The order is written, its job queued.
        Accepted = "accepted",
        /// Every line's stock is reserved.
        Reserved = "reserved",
        /// The gateway holds the amount.
        Authorized = "authorized",
        /// The gateway has taken the amount.
        Captured = "captured",
        /// Stock sold, order confirmed: the end.
        Completed = "completed",
        /// Something was refused: stock and money are on their way back.
        Compensating = "compensating",
        /// Stock and money are back, the order is cancelled: the other end.
        Compensated = "compensated",
    }
}

impl CheckoutStep {
    /// The steps that may follow this one.
    pub const fn legal_moves(self) -> &'static [Self] {
        match self {
            Self::Accepted => &[Self::Reserved, Self::Compensating],
            Self::Reserved => &[Self::Authorized, Self::Compensating],
            Self::Authorized => &[Self::Captured, Self::Compensating],
            Self::Captured => &[Self::Completed, Self::Compensating],
            Self::Compensating => &[Self::Compensated],
            Self::Completed | Self::Compensated => &[],
        }
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        self.legal_moves().contains(&next)
    }
}
