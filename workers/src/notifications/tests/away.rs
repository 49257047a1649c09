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

    // Their turns to try, in vain: more than they have attempts.
    for _ in 0..25 {
        db.execute("update dependencies set down_until = now()").await;
        holds::let_go(&mut conn).await.unwrap();
        assert_eq!(drain(db.pool(), &away, queues::MAIL).await[0].outcome, "snoozed");
        assert_eq!(db.text(HELD).await, "2");
    }

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

/// The line is dropped for one mail alone. It brings the server down for all, again and again, as long as nobody knows better:
/// once others were answered after it was not, it spends its attempts as any that fails.
#[tokio::test]
async fn a_mail_for_which_alone_the_line_is_dropped_dies_in_the_end() {
    let (db, _folder, _) = with_order().await;
    let (url, _received) = mail_server_that(|rcpt| (!rcpt.contains("poison")).then_some("250 ok")).await;
    let settings = [
        ("WAYBILL_MAIL__TRANSPORT", "smtp"),
        ("WAYBILL_MAIL__SMTP_URL", url.as_str()),
        ("WAYBILL_MAIL__BREAKER_FAILURES", "1"),
        ("WAYBILL_MAIL__BREAKER_OPEN_FOR", "1h"),
    ];
    let registry = registry(&Arc::new(mailer(&db.services(&settings)).unwrap()));
    controls_declared(&db, &registry).await;
    serve(db.pool(), &[queues::MAIL]).await;
    written(&db).await;
    db.execute("update mails set recipient = 'poison@example.com' where template = 'order_cancelled'").await;
    let well = "select id from mails where template = 'order_confirmed'";
    let well = SendMail { mail_id: db.text(well).await.parse().unwrap() };
    let mut conn = db.conn().await;
    let (mut outages, mut rounds) = (0, 0);
    while db.text("select count(*) from dead_letters").await == "0" {
        rounds += 1;
        assert!(
            rounds <= 45,
            "it goes round for ever, {outages} outages: {}",
            db.text("select failures from jobs").await
        );
        holds::hold_kinds(&mut conn, queues::MAIL).await.unwrap();
        db.execute(
            "update jobs set state = 'queued' where state = 'scheduled'; update dependencies set down_until = now() where down_since is not null",
        )
        .await;
        holds::let_go(&mut conn).await.unwrap();
        drain(db.pool(), &registry, queues::MAIL).await;
        outages += i32::from(controls::dependencies(&mut conn).await.unwrap()[0].down_since.is_some());
        // There is always another one, for whom the server is well.
        db.execute("update mails set status = 'queued' where template = 'order_confirmed'").await;
        enqueue(&conn, &well).await.unwrap();
    }
    assert!(outages >= 15, "each of its attempts was one: {outages}");
    assert_eq!(db.text("select status from mails where template = 'order_cancelled'").await, "failed");
    let said = "select string_agg(f ->> 'outcome', ' ' order by n)
                from dead_letters, jsonb_array_elements(failures) with ordinality t(f, n)";
    let said = db.text(said).await;
    assert!(said.starts_with("snoozed ") && said.matches("failed").count() == 15, "{said}");
    let others = "select count(*) from job_history where attempt = 1 and state = 'done'";
    assert!(
        db.text(others).await.parse::<i32>().unwrap() >= 15,
        "the others go out, each at its first attempt"
    );
    assert_eq!(db.text("select count(*) from job_history where attempt > 1").await, "0");
}

/// As a worker does when it starts.
async fn controls_declared(db: &TestDatabase, registry: &Registry) {
    waybill_jobs::control::declare(&mut *db.conn().await, &registry.declared()).await.unwrap();
    assert_eq!(db.text("select kind || ' ' || dependency from kind_needs").await, "mail.send mail_server");
}
