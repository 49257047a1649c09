//! Checkouts while their gateway is down for all workers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use uuid::Uuid;
use waybill_jobs::postgres::holds::let_go;
use waybill_jobs::{enqueue, kinds::ExpireCheckouts, testing::serve};
use waybill_schema::system::{controls, outages};
use waybill_workers::payments::BreakerSettings;

use crate::fake_gateway::{Fault, On};
use crate::world::{Settings, World};

const GATEWAY: &str = "gateway.sandbox";

async fn world() -> World {
    let breaker = BreakerSettings { failures: 2, open_for: Duration::from_hours(1) };
    let world = World::with(Settings { breaker, ..Settings::default() }).await;
    // A turn to try goes to a job that somebody can take.
    serve(world.db.pool(), &["checkout"]).await;
    world
}

async fn held(world: &World) -> i64 {
    world.number("select count(*) as number from jobs where hold = 'needs:gateway.sandbox'").await
}

/// The rest is over; answers with the job that is to try.
async fn next_to_try(world: &World) -> Uuid {
    world.db.execute("update dependencies set down_until = now()").await;
    let_go(&mut *world.db.conn().await).await.unwrap();
    let probe = world.word("select probe_id::text as word from dependencies").await;
    probe.unwrap().parse().unwrap()
}

async fn spent(world: &World) -> i64 {
    world
        .number("select coalesce(max(attempt), 0)::bigint as number from jobs where kind = 'checkout.run'")
        .await
}

#[tokio::test]
async fn a_gateway_that_is_down_is_written_down_once_and_one_job_at_a_time_tries() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 50).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(world.order(&[(&cup, 1)]).await.1);
    }
    world.gateway.script(&[
        (On::Authorize, Fault::Down),
        (On::Authorize, Fault::Down),
        (On::Authorize, Fault::Down),
    ]);
    assert_eq!(world.run(jobs[0]).await.outcome, "snoozed");
    assert_eq!(held(&world).await, 0, "one failure is none");
    assert_eq!(world.run(jobs[1]).await.outcome, "snoozed");
    assert_eq!(held(&world).await, 1, "the second in a row opens the breaker");
    for job in &jobs[2..] {
        assert_eq!(world.run(*job).await.outcome, "snoozed");
    }
    assert_eq!(held(&world).await, 3);
    assert_eq!(world.gateway.calls(On::Authorize), 2, "those that came later did not call");
    assert_eq!(
        world.number("select count(*) as number from orders where step = 'reserved'").await,
        4,
        "they have their stock"
    );
    assert_eq!(spent(&world).await, 0);

    // The one that tries fails: another rest, and the others have not moved.
    let probe = next_to_try(&world).await;
    assert_eq!(world.run(probe).await.outcome, "snoozed");
    assert_eq!((world.gateway.calls(On::Authorize), held(&world).await, spent(&world).await), (3, 3, 0));
    assert_eq!(world.number("select (probe_id is null and down_until > now() + interval '50 minutes')::int::bigint as number from dependencies").await, 1);

    // The next one is another, since what failed may be the job's fault. It finds the gateway well, and all go on: in this process too, whose breaker would rest for an hour.
    let tried = probe;
    let probe = next_to_try(&world).await;
    assert_ne!(probe, tried);
    assert_eq!(world.run(probe).await.outcome, "done");
    assert!(controls::dependencies(&mut *world.db.conn().await).await.unwrap()[0].down_since.is_none());
    let_go(&mut *world.db.conn().await).await.unwrap();
    assert_eq!(held(&world).await, 0);
    for job in jobs.into_iter().filter(|job| *job != probe) {
        assert_eq!(world.run(job).await.outcome, "done");
    }
    assert_eq!(world.number("select count(*) as number from job_history where attempt <> 1").await, 0);
    world.assert_settled().await;
}

#[tokio::test]
async fn a_turn_to_try_that_is_over_changes_nothing() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 50).await;
    let (_, job) = world.order(&[(&cup, 1)]).await;
    let (_, other) = world.order(&[(&cup, 1)]).await;
    let mut conn = world.db.conn().await;
    controls::dependency_down(&mut conn, GATEWAY, Duration::from_hours(1), "maintenance").await.unwrap();
    assert!(!outages::failed(&mut conn, GATEWAY, Duration::ZERO, "no answer").await.unwrap(), "known");
    assert!(!outages::probe_answered(&mut conn, GATEWAY, job).await.unwrap(), "nobody was asked to try");
    assert_eq!(world.run(job).await.outcome, "snoozed");
    let probe = next_to_try(&world).await;
    assert_eq!(probe, job);
    // Meanwhile an operator says that the maintenance goes on.
    controls::dependency_down(&mut conn, GATEWAY, Duration::from_hours(1), "maintenance").await.unwrap();
    assert_eq!(world.run(job).await.outcome, "snoozed");
    assert_eq!(world.run(other).await.outcome, "snoozed");
    assert_eq!((world.gateway.calls(On::Authorize), held(&world).await), (0, 2), "nobody called");
    // Up by his word.
    assert!(controls::dependency_up(&mut conn, GATEWAY).await.unwrap());
    for job in [job, other] {
        assert_eq!(world.run(job).await.outcome, "done");
    }
    world.assert_settled().await;
}

#[tokio::test]
async fn what_needs_no_gateway_is_not_held() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let gift = world.variant("GIFT", "0", 5).await;
    let rest = Duration::from_hours(1);
    controls::dependency_down(&mut *world.db.conn().await, GATEWAY, rest, "no answer").await.unwrap();

    let (free, job) = world.order(&[(&gift, 1)]).await;
    assert_eq!(world.run(job).await.outcome, "done");
    assert_eq!(world.seen(free).await.status, "confirmed");

    // The last cup goes to the first, who waits for the gateway; who wants two is refused at once.
    let (first, job) = world.order(&[(&cup, 1)]).await;
    assert_eq!(world.run(job).await.outcome, "snoozed");
    let (second, refused) = world.order(&[(&cup, 2)]).await;
    assert_eq!(world.run(refused).await.outcome, "done");
    assert_eq!(world.seen(second).await.reason_code.as_deref(), Some("out_of_stock"));

    // Time is up: the stock goes back without the gateway, which was never asked for anything.
    let expire = async || {
        let job = enqueue(&*world.db.conn().await, &ExpireCheckouts {}).await.unwrap();
        assert_eq!(world.run(job).await.outcome, "done");
    };
    expire().await;
    assert_eq!(held(&world).await, 1, "its time is not up");
    world
        .db
        .execute("update orders set reserved_until = now() - interval '1 second' where status = 'pending'")
        .await;
    expire().await;
    assert_eq!(held(&world).await, 0);
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(first).await;
    assert_eq!(
        (seen.status.as_str(), seen.reason_code.as_deref()),
        ("cancelled", Some("reservation_expired"))
    );
    assert_eq!(world.level(&cup).await, (1, 0));
    assert_eq!((world.gateway.calls(On::Authorize), world.gateway.calls(On::Lookup)), (0, 0));
    world.assert_sound().await;
}

#[tokio::test]
async fn money_on_its_way_back_waits_for_the_gateway_and_the_stock_does_not() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    // Held at the gateway; then it is down while the capture is asked for.
    world.gateway.script(&[(On::Capture, Fault::Error500), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    assert_eq!(held(&world).await, 1);
    world.db.execute("update orders set reserved_until = now() - interval '1 second'").await;
    assert_eq!(world.run(job).await.outcome, "snoozed");
    assert_eq!((world.level(&cup).await, held(&world).await), ((1, 0), 1));
    let expire = enqueue(&*world.db.conn().await, &ExpireCheckouts {}).await.unwrap();
    assert_eq!(world.run(expire).await.outcome, "done");
    assert_eq!(held(&world).await, 1, "there is nothing left to give back but the money");
    // The gateway's patience, after which a capture that it knows nothing of will not come.
    world.db.execute("update effects set calls = jsonb_set(calls, '{0,at}', to_jsonb(now() - interval '1 minute')) where kind = 'capture'").await;
    assert_eq!(next_to_try(&world).await, job);
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    assert_eq!(world.seen(order).await.payment, "voided");
    world.assert_settled().await;
}

/// What was given up as never captured was captured: the void says so, and by whom is asked of a gateway that is down.
#[tokio::test]
async fn a_capture_that_came_too_late_is_asked_about_when_the_gateway_is_back() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Error500), (On::Void, Fault::Error500)]);
    assert_eq!(world.run(job).await.outcome, "snoozed", "the gateway knows of no capture");
    world.db.execute("update orders set reserved_until = now() - interval '1 second'").await;
    world.db.execute("update effects set calls = jsonb_set(calls, '{0,at}', to_jsonb(now() - interval '1 minute')) where kind = 'capture'").await;
    assert_eq!(world.run(job).await.outcome, "snoozed", "it is not let go yet");
    assert_eq!(
        world
            .word("select response ->> 'outcome' as word from effects where kind = 'capture'")
            .await
            .as_deref(),
        Some("never_arrived")
    );
    let key = world.word("select key as word from effects where kind = 'capture'").await.unwrap();
    world.gateway.capture_late(&key, &world.gateway.hold_ids()[0]);
    controls::dependency_up(&mut *world.db.conn().await, GATEWAY).await.unwrap();

    // More often than it has attempts. What became of the void is answered, and of the capture not.
    for round in 0..25 {
        if round > 0 {
            world.gateway.behave_for_one_lookup();
        }
        world.gateway.script(&[(On::Lookup, Fault::Error500)]);
        assert_eq!(world.run(job).await.outcome, "snoozed", "{round}");
        assert_eq!(spent(&world).await, 0);
        if held(&world).await == 1 {
            assert_eq!(next_to_try(&world).await, job);
        }
    }
    world.gateway.behave();
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    assert_eq!(world.seen(order).await.payment, "refunded");
    let hold = &world.gateway.holds(&order.to_string())[0];
    assert_eq!((hold.captured, hold.voided), (hold.refunded, false));
    assert_eq!(
        world.number("select attempt::bigint as number from job_history where kind = 'checkout.run'").await,
        1
    );
    world.assert_settled().await;
}

#[tokio::test]
async fn a_job_waits_only_for_what_is_down_and_while_it_is_ours() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (_, job) = world.order(&[(&cup, 1)]).await;
    let mut conn = world.db.conn().await;
    let cx = world.claim(job).await;
    assert!(cx.wait_for(&mut conn, GATEWAY, "no answer").await.unwrap().is_none(), "never heard of");
    controls::dependency_down(&mut conn, GATEWAY, Duration::from_hours(1), "").await.unwrap();
    world.db.execute("update jobs set cancel = '{}'").await;
    assert!(
        cx.wait_for(&mut conn, GATEWAY, "no answer").await.unwrap().is_none(),
        "somebody wants it to end"
    );
    world.db.execute("update jobs set cancel = null").await;
    let stale = waybill_jobs::JobContext { claim: cx.claim - 1, ..cx.clone() };
    assert!(stale.wait_for(&mut conn, GATEWAY, "no answer").await.unwrap().is_none(), "another has it");
    assert!(cx.wait_for(&mut conn, GATEWAY, "no\0answer").await.unwrap().is_some());
    assert_eq!((held(&world).await, spent(&world).await), (1, 0));
    let said =
        "select concat_ws('|', snoozes, worker_id, failures -> 0 ->> 'attempt', failures -> 0 ->> 'outcome',
                    failures -> 0 ->> 'error') as word from jobs";
    assert_eq!(world.word(said).await.as_deref(), Some("1|1|snoozed|no\u{fffd}answer"));
    assert!(cx.wait_for(&mut conn, GATEWAY, "no answer").await.unwrap().is_none(), "it waits already");
}

#[tokio::test]
async fn a_gateway_that_answers_questions_and_does_nothing_is_down() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (_, first) = world.order(&[(&cup, 1)]).await;
    let (_, second) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Error500), (On::Authorize, Fault::Error500)]);
    assert_eq!(world.run(first).await.outcome, "snoozed");
    assert_eq!((held(&world).await, world.gateway.calls(On::Lookup)), (0, 1));
    assert_eq!(world.run(second).await.outcome, "snoozed");
    assert_eq!(held(&world).await, 1);

    // Who has nothing to ask of it passes the turn on; an answer is enough from who has nothing else to ask.
    world.db.execute("update orders set reserved_until = now() - interval '1 second'").await;
    let both = "update jobs set state = 'queued', hold = 'needs:gateway.sandbox', run_at = created_at";
    world.db.execute(both).await;
    let unsent = "update effects set calls = jsonb_build_array(jsonb_build_object('at', now(), 'ask', 'request', 'outcome', 'unavailable'))
                  where key like '%' || (select correlation_id from jobs where id = '{first}') || '%'";
    world.db.execute(&unsent.replace("{first}", &first.to_string())).await;
    let sent = "update effects set calls = jsonb_build_array(jsonb_build_object('at', now() - interval '1 hour', 'ask', 'request', 'outcome', 'unknown'))
                where key like '%' || (select correlation_id from jobs where id = '{second}') || '%'";
    world.db.execute(&sent.replace("{second}", &second.to_string())).await;
    assert_eq!(next_to_try(&world).await, first);
    let calls = world.gateway.calls(On::Lookup);
    assert_eq!(world.run(first).await.outcome, "done");
    assert_eq!(world.gateway.calls(On::Lookup), calls);
    let free = "select count(*) as number from dependencies where probe_id is null and down_until <= clock_timestamp()";
    assert_eq!(world.number(free).await, 1);
    let_go(&mut *world.db.conn().await).await.unwrap();
    assert_eq!(world.run(second).await.outcome, "done");
    assert_eq!(world.gateway.calls(On::Lookup), calls + 1);
    assert_eq!(world.number("select count(*) as number from dependencies where down_since is null").await, 1);
    world.assert_settled().await;
}
