//! Workers that die. A dead worker is a future that is dropped: its connection closes, its transaction rolls back, its
//! call to the gateway may or may not have arrived.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::pin;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;
use waybill_jobs::testing::Mortal;

use crate::fake_gateway::{Fault, On};
use crate::world::World;

/// Runs one attempt that dies after `polls` turns, and gives the job to the next; true if the worker lived to its end.
async fn run_and_die(world: &World, job: Uuid, polls: usize) -> bool {
    let cx = world.claim(job).await;
    let result = {
        let future = pin!(world.handle(&cx));
        Mortal { future, polls }.await
    };
    world.take_over(job).await;
    result.is_some()
}

/// A worker that died while its last commit was on the way has finished the job.
async fn is_live(world: &World, job: Uuid) -> bool {
    world.number(&format!("select count(*) as number from jobs where id = '{job}'")).await == 1
}

/// Dies at the first moment, is succeeded, dies at the second, and so on, with an order for each moment.
async fn dies_everywhere(token: &str, faults: &[(On, Fault)], status: &str) {
    let world = World::new().await;
    let (cup, plate) =
        (world.variant("CUP", "2.50", 10_000).await, world.variant("PLATE", "1", 10_000).await);
    let mut moments = 0;
    for polls in 1.. {
        assert!(polls < 500, "an attempt takes fewer turns");
        let (order, job) = world.order_with(token, &[(&cup, 1), (&plate, 2)]).await;
        world.gateway.behave();
        world.gateway.script(faults);
        let lived = run_and_die(&world, job, polls).await;
        moments += usize::from(!lived);
        // The one who succeeds it dies as well, a little later.
        if is_live(&world, job).await {
            run_and_die(&world, job, polls + 3).await;
        }
        if is_live(&world, job).await {
            world.run_to_end(job, 8).await;
        }
        assert_eq!(world.seen(order).await.status, status, "died after {polls} turns");
        if lived {
            break;
        }
    }
    assert!(moments > 10, "only {moments} moments to die at");
    world.assert_settled().await;
}

#[tokio::test]
async fn on_the_way_to_a_confirmed_order() {
    dies_everywhere("tok_visa", &[], "confirmed").await;
}

#[tokio::test]
async fn on_the_way_with_lost_answers() {
    dies_everywhere("tok_visa", &[(On::Authorize, Fault::Lose), (On::Capture, Fault::Lose)], "confirmed")
        .await;
}

#[tokio::test]
async fn on_the_way_to_a_declined_order() {
    dies_everywhere("tok_declined", &[], "cancelled").await;
}

#[tokio::test]
async fn on_the_way_back_from_a_refused_capture() {
    dies_everywhere("tok_visa", &[(On::Capture, Fault::Reject), (On::Void, Fault::Lose)], "cancelled").await;
}

/// What may happen to an order, in any order.
#[derive(Debug, Clone)]
enum Turn {
    /// A worker runs it, and dies after so many turns.
    Die(usize),
    /// A worker runs it to the end of the attempt.
    Run,
    /// Another worker runs it at the same time, believing that it is its own.
    RunTwice,
    /// Its time is up.
    Expire,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec(
        prop_oneof![
            4 => (1_usize..60).prop_map(Turn::Die),
            3 => Just(Turn::Run),
            2 => Just(Turn::RunTwice),
            1 => Just(Turn::Expire),
        ],
        0..8,
    )
}

#[test]
fn whatever_happens_the_books_agree() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let cup = runtime.block_on(world.variant("CUP", "2.50", 1_000_000));
    let config = Config { cases: 60, max_shrink_iters: 30, failure_persistence: None, ..Config::default() };
    let orders =
        (turns(), any::<u64>(), 0.0..0.5_f64, prop_oneof![4 => Just("tok_visa"), 1 => Just("tok_declined")]);
    TestRunner::new(config)
        .run(&orders, |(turns, seed, chance, token)| {
            runtime.block_on(async {
                let (order, job) = world.order_with(token, &[(&cup, 1)]).await;
                world.gateway.misbehave(seed, chance);
                let mut expired = false;
                for turn in turns {
                    if world.number(&format!("select count(*) as number from jobs where id = '{job}'")).await
                        == 0
                    {
                        break;
                    }
                    match turn {
                        Turn::Die(polls) => {
                            run_and_die(&world, job, polls).await;
                        }
                        Turn::Run => {
                            world.run(job).await;
                        }
                        Turn::RunTwice => {
                            let twin = world.enqueue(order).await;
                            futures::join!(world.run_to_end(job, 200), world.run_to_end(twin, 200));
                        }
                        Turn::Expire => {
                            expired = true;
                            world
                                .db
                                .execute(&format!(
                                    "update orders set reserved_until = now() - interval '1 second'
                                     where id = '{order}' and reserved_until is not null"
                                ))
                                .await;
                        }
                    }
                }
                world.gateway.behave();
                if world.number(&format!("select count(*) as number from jobs where id = '{job}'")).await == 1
                {
                    // What is given up is given time to arrive: the timeout of a call.
                    for _ in 0..40 {
                        if !matches!(world.run(job).await.outcome, "snoozed" | "retried") {
                            break;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                }
                let status = world.seen(order).await.status;
                prop_assert_ne!(status.as_str(), "pending");
                if token == "tok_visa" && !expired {
                    prop_assert_eq!(status.as_str(), "confirmed");
                }
                world.assert_settled().await;
                Ok(())
            })
        })
        .unwrap();
}
