//! From rendered words to a message as mail servers take it.

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

use super::templates::Rendered;

/// RFC 3834: keeps vacation notices from answering.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The Message-ID of a mail: the same at every attempt, so that a receiver may recognise a repeat.
pub fn message_id(mail_id: Uuid, from: &Mailbox) -> String {
    format!("<{mail_id}@{}>", from.email.domain())
}

/// A message with a text and an HTML part.
pub fn message(
    from: &Mailbox,
    to: Address,
    message_id: &str,
    rendered: Rendered,
) -> Result<Message, lettre::error::Error> {
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(rendered.subject)
        .message_id(Some(message_id.to_owned()))
        .header(AutoSubmitted)
        .multipart(MultiPart::alternative_plain_html(rendered.text, rendered.html))
}
