//! Several workers that believe that an order is theirs.
#![allow(clippy::unwrap_used)]

use futures::future::join_all;

use crate::fake_gateway::{Fault, On};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_jobs_of_one_order_give_one_capture() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, first) = world.order(&[(&cup, 2)]).await;
    let mut jobs = vec![first];
    for _ in 0..4 {
        jobs.push(world.enqueue(order).await);
    }
    join_all(jobs.iter().map(|job| world.run_to_end(*job, 5))).await;
    assert_eq!(world.seen(order).await.status, "confirmed");
    assert_eq!(world.seen(order).await.history, "accepted reserved authorized captured completed");
    assert_eq!(world.gateway.all_holds().len(), 1);
    assert_eq!(world.level(&cup).await, (3, 0));
    assert_eq!(world.topics().await, "order.confirmed");
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_claims_of_one_job_give_one_capture() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 2)]).await;
    // Each claim but the last belongs to a worker that was thought dead and is not.
    let mut claims = Vec::new();
    for _ in 0..5 {
        claims.push(world.claim(job).await);
        world.take_over(job).await;
    }
    let last = world.claim(job).await;
    let zombies = join_all(claims.iter().map(|cx| world.handle(cx)));
    let (zombies, holder) = futures::join!(zombies, world.handle(&last));
    assert!(matches!(holder, Ok(waybill_jobs::Outcome::Finished(_))), "{holder:?}");
    for zombie in zombies {
        let message = zombie.unwrap_err().message;
        assert_eq!(message, "this attempt no longer holds the job");
    }
    assert_eq!(world.gateway.all_holds().len(), 1);
    assert_eq!(world.seen(order).await.history, "accepted reserved authorized captured completed");
    world.assert_settled().await;
}

#[tokio::test]
async fn a_zombie_with_the_answer_in_hand_cannot_write_it() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 2)]).await;
    // The worker stands still while the gateway works; meanwhile the job is given to another, which settles everything.
    world.gateway.script(&[(On::Capture, Fault::DoneThenHang)]);
    let zombie = world.claim(job).await;
    let stuck = world.handle(&zombie);
    let others = async {
        waybill_jobs::testing::until("the zombie calls", || async { world.gateway.calls(On::Capture) == 1 })
            .await;
        world.take_over(job).await;
        world.run(job).await
    };
    let (zombie, other) = futures::join!(stuck, others);
    assert_eq!(other.outcome, "done");
    assert_eq!(zombie.unwrap_err().message, "this attempt no longer holds the job");
    assert_eq!(world.seen(order).await.history, "accepted reserved authorized captured completed");
    world.assert_settled().await;
}

#[tokio::test]
async fn who_is_told_to_stop_does_not_touch_money() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (_, job) = world.order(&[(&cup, 2)]).await;
    let cx = world.claim(job).await;
    cx.cancelled.cancel();
    assert!(world.handle(&cx).await.unwrap_err().retryable);
    assert_eq!(world.gateway.calls(On::Authorize), 0);
    world.take_over(job).await;
    assert_eq!(world.run(job).await.outcome, "done");
    world.assert_settled().await;
}
