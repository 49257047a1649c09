#![allow(clippy::unwrap_used, clippy::panic)]

mod away;

use std::sync::Arc;

use chrono::Utc;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use waybill_jobs::{
    Event, EventEnvelope, JobContext, Outcome, Pipeline, enqueue,
    events::{OrderCancelled, OrderConfirmed},
    kinds::SendMail,
};
use waybill_schema::{
    Email,
    mails::{self, MailTemplate, NewMail},
    new_id,
};

use super::{Mailer, Notifications, mailer};
use crate::testing::TestDatabase;

const ORDER: &str = "01900000-0000-7000-8000-00000000000a";

async fn with_order() -> (TestDatabase, tempfile::TempDir, Arc<Mailer>) {
    let db = TestDatabase::new().await;
    db.execute(&format!(
        r#"insert into orders (id, email, reference, status, step, currency, subtotal, total, shipping_address,
                               billing_address, confirmed_at)
           values ('{ORDER}', 'ada@example.com', 'PO <7>', 'confirmed', 'completed', 'GBP', 14.95, 14.95,
                   '{{"name": "Ada & Co", "line1": "1 High St", "city": "York", "postal_code": "YO1", "country": "GB"}}',
                   '{{"name": "Ada & Co", "line1": "2 Low St", "city": "York", "postal_code": "YO1", "country": "GB"}}',
                   now());
           insert into order_lines (order_id, position, variant_id, product_id, sku, name, variant_title, quantity,
                                    unit_price, total)
           values ('{ORDER}', 1, gen_random_uuid(), gen_random_uuid(), 'B-2', 'Cup <b>blue</b>', '', 1, 2.45, 2.45),
                  ('{ORDER}', 0, gen_random_uuid(), gen_random_uuid(), 'A-1', 'Lamp', 'Red', 100, 0.125, 12.5);"#
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let services = db.services(&[("WAYBILL_MAIL__DIR", folder.path().to_str().unwrap())]);
    let mailer = Arc::new(mailer(&services).unwrap());
    (db, folder, mailer)
}

fn event(topic: &str) -> EventEnvelope {
    let order_id: Uuid = ORDER.parse().unwrap();
    EventEnvelope {
        id: new_id(),
        topic: topic.to_owned(),
        version: 1,
        aggregate: "order".to_owned(),
        aggregate_id: order_id,
        created_at: Utc::now(),
        correlation_id: Some(order_id),
        causation_id: None,
        traceparent: None,
        payload: json!({}),
    }
}

/// The one queued mail of the database, as its job's context.
async fn queued(db: &TestDatabase) -> (SendMail, JobContext) {
    let job_id: Uuid = db.text("select id from jobs").await.parse().unwrap();
    let mail_id: Uuid = db.text("select payload->>'mail_id' from jobs").await.parse().unwrap();
    (SendMail { mail_id }, db.claim(job_id).await)
}

fn eml(folder: &tempfile::TempDir) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[tokio::test]
async fn an_event_writes_one_mail_however_often_it_comes() {
    let (db, _folder, _mailer) = with_order().await;
    let batch = [event(OrderConfirmed::TOPIC), event(OrderConfirmed::TOPIC), event(OrderCancelled::TOPIC)];
    for _ in 0..2 {
        Notifications.apply(&batch, &mut *db.conn().await).await.unwrap();
    }
    assert_eq!(
        db.text("select string_agg(dedupe_key, ' ' order by dedupe_key) from mails").await,
        format!("order_cancelled:{ORDER} order_confirmed:{ORDER}")
    );
    assert_eq!(db.text("select count(*) from jobs where kind = 'mail.send'").await, "2");
    assert_eq!(db.text(&format!("select count(*) from jobs where correlation_id = '{ORDER}'")).await, "2");
}

#[tokio::test]
async fn a_confirmation_shows_the_order_and_a_repeat_changes_nothing() {
    let (db, folder, mailer) = with_order().await;
    Notifications.apply(&[event(OrderConfirmed::TOPIC)], &mut *db.conn().await).await.unwrap();
    let (job, context) = queued(&db).await;
    let outcome = Arc::clone(&mailer).run(job.clone(), context.clone()).await.unwrap();
    assert!(matches!(outcome, Outcome::Done(Some(_))), "{outcome:?}");

    let mails = eml(&folder);
    assert_eq!(mails.len(), 1);
    let mail = mails[0].replace("=\r\n", "");
    for part in [
        "To: ada@example.com",
        "Auto-Submitted: auto-generated",
        "multipart/alternative",
        "Hello Ada & Co,",
        "100 x Lamp, Red (A-1) at 0.125 GBP: 12.50 GBP",
        "Total: 14.95 GBP",
        "Your reference: PO <7>",
        "2 Low St",
        "Cup &lt;b&gt;blue&lt;",
        "PO &lt;7&gt;",
        "Hello Ada &amp; Co,",
    ] {
        assert!(mail.contains(part), "{part} is missing in {mail}");
    }
    assert!(mail.find("Lamp").unwrap() < mail.find("Cup").unwrap(), "lines come in order");
    let id = format!("<{}@waybill.example>", job.mail_id);
    assert!(mail.contains(&format!("Message-ID: {id}")), "{mail}");
    assert_eq!(
        db.text("select message_id from mails where status = 'sent' and sent_at is not null").await,
        id
    );

    // A worker died before it could say so: the mail is not sent again.
    std::fs::remove_file(folder.path().join(format!("{}.eml", job.mail_id))).unwrap();
    let again = Arc::clone(&mailer).run(job.clone(), context.clone()).await.unwrap();
    assert!(matches!(again, Outcome::Done(None)), "{again:?}");
    assert_eq!(eml(&folder).len(), 0);

    // It died before it could record it: the repeat replaces the file.
    for _ in 0..2 {
        db.execute("update mails set status = 'queued', sent_at = null").await;
        Arc::clone(&mailer).run(job.clone(), context.clone()).await.unwrap();
    }
    assert_eq!(eml(&folder).len(), 1);
}

#[tokio::test]
async fn a_verification_token_is_in_the_mail_alone() {
    let (db, folder, mailer) = with_order().await;
    let user_id = new_id();
    db.execute(&format!(
        "insert into users (id, email, password_hash, first_name, last_name)
         values ('{user_id}', 'eve@example.com', '', 'Eve', 'Adams')"
    ))
    .await;
    let mail = NewMail {
        id: new_id(),
        dedupe_key: format!("verify_email:{user_id}:1"),
        template: MailTemplate::VerifyEmail,
        recipient: Email::parse("eve@example.com").unwrap(),
        correlation_id: Some(user_id),
        context: json!({ "user_id": user_id }),
    };
    let mut conn = db.conn().await;
    let fresh = mails::insert(&mut conn, std::slice::from_ref(&mail)).await.unwrap();
    assert_eq!((fresh.len(), fresh[0].id), (1, mail.id));
    assert_eq!(mails::insert(&mut conn, &[NewMail { id: new_id(), ..mail.clone() }]).await.unwrap(), []);
    let job_id = enqueue(&conn, &SendMail { mail_id: mail.id }).await.unwrap();
    drop(conn);
    let context = db.claim(job_id).await;
    mailer.run(SendMail { mail_id: mail.id }, context).await.unwrap();

    let text = eml(&folder).remove(0);
    assert!(text.contains("Hello Eve,"), "{text}");
    let token = text.lines().map(str::trim).find(|line| line.len() == 43 && !line.contains(' ')).unwrap();
    let hash = hex::encode(Sha256::digest(token.as_bytes()));
    assert_eq!(
        db.text("select encode(hash, 'hex') from user_tokens where expires_at > now() + interval '47 h'")
            .await,
        hash
    );
    assert_eq!(db.text(&format!("select count(*) from mails where mails::text like '%{token}%'")).await, "0");
}

#[tokio::test]
async fn what_can_never_be_sent_is_recorded_and_dropped() {
    let (db, folder, mailer) = with_order().await;
    Notifications.apply(&[event(OrderConfirmed::TOPIC)], &mut *db.conn().await).await.unwrap();
    let (job, context) = queued(&db).await;
    db.execute("update mails set recipient = 'nobody'").await;
    let outcome = Arc::clone(&mailer).run(job.clone(), context.clone()).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Discard(reason) if reason.contains("no e-mail address")),
        "{outcome:?}"
    );
    assert_eq!(
        db.text("select error from mails where status = 'failed'").await,
        "the recipient is no e-mail address"
    );

    db.execute("update mails set recipient = 'ada@example.com', status = 'queued', template = 'of_tomorrow'")
        .await;
    let outcome = Arc::clone(&mailer).run(job.clone(), context.clone()).await.unwrap();
    assert!(matches!(outcome, Outcome::Snooze { .. }), "a newer worker knows it: {outcome:?}");

    db.execute("delete from mails").await;
    let outcome = mailer.run(job, context).await.unwrap();
    assert!(matches!(outcome, Outcome::Discard(_)), "{outcome:?}");
    assert_eq!(eml(&folder).len(), 0);
}

/// A mail server that answers RCPT with `rcpt`.
async fn mail_server(rcpt: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    mail_server_that(move |_| Some(rcpt)).await
}

/// A mail server that answers each RCPT so, or drops the line.
async fn mail_server_that(
    rcpt: impl Fn(&str) -> Option<&'static str> + Clone + Send + 'static,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, rcpt) = (sender.clone(), rcpt.clone());
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 test\r\n").await?;
                let mut data = None;
                while let Some(line) = lines.next_line().await? {
                    let answer = match (&mut data, line.as_str()) {
                        (Some(text), ".") => {
                            let _ = sender.send(std::mem::take(text));
                            data = None;
                            "250 taken"
                        }
                        (Some(text), line) => {
                            *text = format!("{text}{line}\n");
                            continue;
                        }
                        (None, "DATA") => {
                            data = Some(String::new());
                            "354 go on"
                        }
                        (None, line) if line.starts_with("RCPT") => match rcpt(line) {
                            Some(answer) => answer,
                            None => return Ok(()),
                        },
                        (None, _) => "250 ok",
                    };
                    write.write_all(format!("{answer}\r\n").as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    (url, receiver)
}

async fn through_server(
    rcpt: &'static str,
) -> (TestDatabase, Result<Outcome, waybill_jobs::Failure>, Option<String>) {
    let (db, _folder, _) = with_order().await;
    let (url, mut received) = mail_server(rcpt).await;
    let services = db.services(&[("WAYBILL_MAIL__TRANSPORT", "smtp"), ("WAYBILL_MAIL__SMTP_URL", &url)]);
    Notifications.apply(&[event(OrderConfirmed::TOPIC)], &mut *db.conn().await).await.unwrap();
    let (job, context) = queued(&db).await;
    let outcome = Arc::new(mailer(&services).unwrap()).run(job, context).await;
    let mail = received.try_recv().ok();
    (db, outcome, mail)
}

#[tokio::test]
async fn a_mail_server_gets_the_mail() {
    let (db, outcome, mail) = through_server("250 ok").await;
    assert!(matches!(outcome, Ok(Outcome::Done(_))), "{outcome:?}");
    assert!(mail.unwrap().contains("Subject: Order 100001 is confirmed"));
    assert_eq!(db.text("select status from mails").await, "sent");
}

#[tokio::test]
async fn a_refusal_for_good_is_not_repeated_and_one_for_now_is() {
    let (db, outcome, mail) = through_server("550 no such user").await;
    assert!(matches!(outcome, Ok(Outcome::Discard(_))), "{outcome:?}");
    assert_eq!(mail, None);
    assert_eq!(
        db.text("select status || ': ' || error from mails").await,
        "failed: refused for good by the mail server: answered 550"
    );

    let (db, outcome, _) = through_server("451 busy").await;
    assert!(
        matches!(&outcome, Err(failure) if failure.retryable && failure.message.contains("451")),
        "{outcome:?}"
    );
    assert_eq!(db.text("select status from mails").await, "queued");
}
