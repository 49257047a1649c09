//! The mails' words, compiled in. HTML is escaped by name: everything that ends in `.html`.

use minijinja::{
    Environment, UndefinedBehavior,
    value::{Serde, Value},
};
use serde::Serialize;
use waybill_schema::mails::MailTemplate;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name)))),+]
    };
}

const FILES: &[(&str, &str)] = files![
    "layout/layout.html",
    "layout/order.html",
    "layout/order.txt",
    "order_confirmed/subject.txt",
    "order_confirmed/body.txt",
    "order_confirmed/body.html",
    "order_cancelled/subject.txt",
    "order_cancelled/body.txt",
    "order_cancelled/body.html",
    "verify_email/subject.txt",
    "verify_email/body.txt",
    "verify_email/body.html",
];

/// A mail's words, ready to go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For programs that show text.
    pub text: String,
    /// For the others.
    pub html: String,
}

/// Renders mails.
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Compiles every template.
    pub fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        // A misspelt field is an error, not an empty space in somebody's mail.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in FILES {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    /// Renders a mail's three parts.
    pub fn render(
        &self,
        template: MailTemplate,
        view: &impl Serialize,
    ) -> Result<Rendered, minijinja::Error> {
        let view = Value::from(Serde(view));
        let part = |part: &str| self.environment.get_template(&format!("{template}/{part}"))?.render(&view);
        // What buyers typed can reach a subject: it must stay one line.
        let subject = part("subject.txt")?.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Rendered { subject, text: part("body.txt")?, html: part("body.html")? })
    }
}
