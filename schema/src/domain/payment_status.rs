//! The payment's state machine.

crate::text_enum! {
    /// What has become of a payment's money.
    pub enum PaymentStatus {
        /// Nothing is known to be held or taken yet.
        Pending = "pending",
        /// The gateway holds the amount.
        Authorized = "authorized",
        /// The gateway has taken the amount.
        Captured = "captured",
        /// The hold was given up.
        Voided = "voided",
        /// The issuer refused.
        Declined = "declined",
        /// The gateway refused for a reason that is not the issuer's.
        Failed = "failed",
        /// Part of the amount went back.
        PartiallyRefunded = "partially_refunded",
        /// All of it went back.
        Refunded = "refunded",
    }
}

impl PaymentStatus {
    /// The statuses that may follow this one.
    pub const fn legal_moves(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Authorized, Self::Declined, Self::Failed, Self::Voided],
            Self::Authorized => &[Self::Captured, Self::Voided, Self::Failed],
            Self::Captured => &[Self::PartiallyRefunded, Self::Refunded],
            Self::PartiallyRefunded => &[Self::PartiallyRefunded, Self::Refunded],
            Self::Voided | Self::Declined | Self::Failed | Self::Refunded => &[],
        }
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        self.legal_moves().contains(&next)
    }
}
