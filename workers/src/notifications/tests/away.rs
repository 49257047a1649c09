//! A mail server that is away: its mails wait, and no attempt is spent on it.

use waybill_jobs::{
    Registry,
    postgres::holds,
    queues,
    testing::{drain, serve},
};
use waybill_schema::system::controls;

use super::*;

const HELD: &str = "select count(*) from jobs where hold = 'needs:mail_server' and attempt = 0";

fn registry(mailer: &Arc<Mailer>) -> Registry {
    let mailer = Arc::clone(mailer);
    Registry::new().job(move |job: SendMail, context| Arc::clone(&mailer).run(job, context))
}

async fn written(db: &TestDatabase) {
    let batch = [event(OrderConfirmed::TOPIC), event(OrderCancelled::TOPIC)];
    Notifications.apply(&batch, &mut *db.conn().await).await.unwrap();
}

#[tokio::test]
async fn mails_wait_for_a_server_that_is_away_and_one_tries() {
    let (db, _folder, _) = with_order().await;
    // Nobody listens there any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = format!("smtp://{gone}");
    let settings = |url| {
        [
            ("WAYBILL_MAIL__TRANSPORT", "smtp"),
            ("WAYBILL_MAIL__SMTP_URL", url),
            ("WAYBILL_MAIL__BREAKER_FAILURES", "1"),
            ("WAYBILL_MAIL__BREAKER_OPEN_FOR", "1h"),
        ]
    };
    let away = registry(&Arc::new(mailer(&db.services(&settings(nowhere.as_str()))).unwrap()));
    controls_declared(&db, &away).await;
    written(&db).await;
    let ran = drain(db.pool(), &away, queues::MAIL).await;
    assert_eq!(
        ran.iter().map(|ran| ran.outcome).collect::<Vec<_>>(),
        ["snoozed"],
        "the second was not begun"
    );
    let mut conn = db.conn().await;
    holds::hold_kinds(&mut conn, queues::MAIL).await.unwrap();
    assert_eq!(db.text(HELD).await, "2");
    serve(db.pool(), &[queues::MAIL]).await;
    let known = controls::dependencies(&mut conn).await.unwrap();
    assert_eq!((known[0].name.as_str(), known[0].down_since.is_some()), ("mail_server", true));

    // Its turn to try, in vain.
    db.execute("update dependencies set down_until = now()").await;
    holds::let_go(&mut conn).await.unwrap();
    assert_eq!(drain(db.pool(), &away, queues::MAIL).await.len(), 1);
    assert_eq!(db.text(HELD).await, "2");

    // Another worker reaches it: both go out, each at its first attempt.
    let (url, mut received) = mail_server("250 ok").await;
    let there = registry(&Arc::new(mailer(&db.services(&settings(url.as_str()))).unwrap()));
    db.execute("update dependencies set down_until = now()").await;
    holds::let_go(&mut conn).await.unwrap();
    assert_eq!(drain(db.pool(), &there, queues::MAIL).await.len(), 1);
    holds::let_go(&mut conn).await.unwrap();
    assert_eq!(drain(db.pool(), &there, queues::MAIL).await.len(), 1);
    assert_eq!(db.text("select count(*) from mails where status = 'sent'").await, "2");
    assert_eq!(
        db.text("select count(*) from job_history where kind = 'mail.send' and attempt = 1").await,
        "2"
    );
    assert!(received.try_recv().is_ok() && received.try_recv().is_ok());
}

#[tokio::test]
async fn a_server_that_refuses_a_mail_is_there() {
    let (db, _folder, _) = with_order().await;
    for (rcpt, outcome) in [("451 busy", "retried"), ("550 no such user", "discarded")] {
        let (url, _received) = mail_server(rcpt).await;
        let settings = [
            ("WAYBILL_MAIL__TRANSPORT", "smtp"),
            ("WAYBILL_MAIL__SMTP_URL", url.as_str()),
            ("WAYBILL_MAIL__BREAKER_FAILURES", "1"),
        ];
        let registry = registry(&Arc::new(mailer(&db.services(&settings)).unwrap()));
        db.execute("delete from jobs; delete from mails").await;
        Notifications.apply(&[event(OrderConfirmed::TOPIC)], &mut *db.conn().await).await.unwrap();
        assert_eq!(drain(db.pool(), &registry, queues::MAIL).await[0].outcome, outcome, "{rcpt}");
        assert!(controls::dependencies(&mut *db.conn().await).await.unwrap().is_empty(), "{rcpt}");
    }
}

/// As a worker does when it starts.
async fn controls_declared(db: &TestDatabase, registry: &Registry) {
    waybill_jobs::control::declare(&mut *db.conn().await, &registry.declared()).await.unwrap();
    assert_eq!(db.text("select kind || ' ' || dependency from kind_needs").await, "mail.send mail_server");
}
