//! Mails: written in the transaction that makes them due, sent by a job.

mod context;
mod outbox;

pub use context::{LineContext, OrderContext, PersonContext, ToSend, to_send};
pub use outbox::{
    Fresh, NewMail, OrderMail, insert, insert_for_orders, insert_user_token, mark_failed, mark_sent,
};

crate::text_enum! {
    /// What a mail says.
    pub enum MailTemplate {
        /// Paid and on its way to being packed.
        OrderConfirmed = "order_confirmed",
        /// Cancelled, with the reason.
        OrderCancelled = "order_cancelled",
        /// Prove that the address is yours.
        VerifyEmail = "verify_email",
    }
}

crate::text_enum! {
    /// What has become of a mail.
    pub enum MailStatus {
        /// A job is at it.
        Queued = "queued",
        /// The mail server (or the folder) took it.
        Sent = "sent",
        /// It will never be taken.
        Failed = "failed",
    }
}
