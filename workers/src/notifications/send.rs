//! `mail.send`: one mail, at least once.
//!
//! A worker that dies between handing the mail over and recording it leaves a mail that is sent again; both carry the
//! same Message-ID, by which receivers can tell, and the folder of the file transport keeps one. What is recorded as
//! sent is never sent again. The record is a statement of its own rather than part of the job's completion: it is true
//! from that moment, whatever becomes of the job, and completions can then be written in batches.

use std::{sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{Duration, Utc};
use lettre::{Address, message::Mailbox};
use rand::RngCore as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::SendMail, trace};
use waybill_schema::{
    Conn,
    mails::{self, MailStatus, MailTemplate, ToSend},
};

use super::{
    message::{message, message_id},
    templates::Templates,
    transport::{SendError, Transport},
    view::{Verification, View, date},
};
use crate::outages::{Caller, Dependency};

/// How long a link to prove an address works, in hours.
const VERIFICATION_HOURS: i64 = 48;

/// Sends mails.
pub struct Mailer {
    pub(super) templates: Templates,
    pub(super) transport: Transport,
    /// The mail server; the folder of the file transport counts as one that always answers.
    pub(super) server: Dependency,
    pub(super) from: Mailbox,
    /// A page of the shop, with `{token}` where the token goes.
    pub(super) verify_email_url: Option<String>,
}

impl Mailer {
    /// Runs one attempt.
    pub async fn run(self: Arc<Self>, job: SendMail, context: JobContext) -> JobResult {
        let asked = Instant::now();
        let mut conn = context.pool.get().await?;
        let Some(mail) = mails::to_send(&mut conn, job.mail_id, context.id).await? else {
            return Ok(Outcome::Discard("there is no such mail".to_owned()));
        };
        if mail.status == MailStatus::Sent {
            return Ok(Outcome::done());
        }
        let template = match &mail.template {
            Ok(template) => *template,
            Err(unknown) => {
                // A newer version wrote it; one of its workers will take it.
                let reason = format!("template {unknown} is not known here");
                return Ok(Outcome::Snooze { after: std::time::Duration::from_secs(5), reason });
            }
        };
        let Ok(recipient) = mail.recipient.parse::<Address>() else {
            return self.refuse(&mut conn, job.mail_id, "the recipient is no e-mail address").await;
        };
        let view = match view(&self, &mut conn, template, &mail).await? {
            Ok(view) => view,
            Err(reason) => return self.refuse(&mut conn, job.mail_id, reason).await,
        };
        drop(conn);

        // What cannot be rendered today cannot be tomorrow: somebody has to look.
        let rendered = self
            .templates
            .render(template, &view)
            .map_err(|error| Failure::permanent(format!("template {template}: {error:#}")))?;
        let id = message_id(job.mail_id, &self.from);
        let subject = rendered.subject.clone();
        let message = message(&self.from, recipient, &id, rendered)
            .map_err(|error| Failure::permanent(format!("message: {error}")))?;
        let caller = Caller { cx: &context, standing: mail.server, asked };
        let Ok(leave) = self.server.enter(caller).await else { return self.wait(&context).await };
        let span = tracing::info_span!("mail", otel.kind = "client", mail_id = %job.mail_id);
        let sent = trace::step(span, self.transport.send(job.mail_id, message)).await;
        match &sent {
            Err(SendError::Away(why)) => leave.failed(why).await,
            _ => leave.answered().await,
        }
        if let Err(SendError::Away(why)) = &sent
            && let Some(waits) = self.server.wait_unanswered(&context, why).await?
        {
            return Ok(Outcome::Finished(waits));
        }

        let mut conn = context.pool.get().await?;
        match sent {
            Ok(()) => {
                mails::mark_sent(&mut conn, job.mail_id, &id, &subject).await?;
                metrics::counter!("waybill_mails_sent_total", "template" => template.as_str()).increment(1);
                Ok(Outcome::Done(Some(json!({ "message_id": id }))))
            }
            Err(error @ SendError::Refused(_)) => {
                self.refuse(&mut conn, job.mail_id, &error.to_string()).await
            }
            Err(error) => {
                if context.attempt >= context.max_attempts {
                    mails::mark_failed(&mut conn, job.mail_id, &error.to_string()).await?;
                }
                Err(error.into())
            }
        }
    }

    /// While the server is down the job is held; should it be up again by now, a moment is enough.
    async fn wait(&self, context: &JobContext) -> JobResult {
        let reason = "the mail server is down".to_owned();
        Ok(match self.server.wait(context, &reason).await? {
            Some(waits) => Outcome::Finished(waits),
            None => Outcome::Snooze { after: std::time::Duration::from_secs(1), reason },
        })
    }

    async fn refuse(&self, conn: &mut Conn, mail_id: Uuid, reason: &str) -> JobResult {
        mails::mark_failed(conn, mail_id, reason).await?;
        metrics::counter!("waybill_mails_refused_total").increment(1);
        Ok(Outcome::Discard(reason.to_owned()))
    }
}

/// What the template sees, or why there is nothing to say any more.
async fn view(
    mailer: &Mailer,
    conn: &mut Conn,
    template: MailTemplate,
    mail: &ToSend,
) -> Result<Result<View, &'static str>, Failure> {
    let verification = match (template, &mail.order, mail.user_id) {
        (MailTemplate::OrderConfirmed | MailTemplate::OrderCancelled, None, _) => {
            return Ok(Err("the order is gone"));
        }
        (MailTemplate::VerifyEmail, _, None) => return Ok(Err("the account is gone")),
        (MailTemplate::VerifyEmail, _, Some(user_id)) => Some(verification(mailer, conn, user_id).await?),
        (MailTemplate::OrderConfirmed | MailTemplate::OrderCancelled, Some(_), _) => None,
    };
    Ok(Ok(View::new(mail.person.as_ref(), mail.order.as_ref(), verification)))
}

/// Makes a token that exists in the mail alone: the database keeps the SHA-256 of its text. Each attempt makes one; an
/// earlier attempt's mail may have arrived, so its token stays good.
async fn verification(mailer: &Mailer, conn: &mut Conn, user_id: Uuid) -> Result<Verification, Failure> {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let expires_at = Utc::now() + Duration::hours(VERIFICATION_HOURS);
    mails::insert_user_token(conn, &Sha256::digest(token.as_bytes()), user_id, expires_at).await?;
    let verify_url = mailer.verify_email_url.as_ref().map(|url| url.replace("{token}", &token));
    Ok(Verification { token, verify_url, expires_on: date(expires_at) })
}
