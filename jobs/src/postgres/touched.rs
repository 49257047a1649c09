//! Which queues a running handler has enqueued into.
//!
//! A handler's transaction commits somewhere inside it, and nobody but the handler knows where. So the queues are noted
//! while it runs, and hinted at when it has ended well. After a rollback the hint is idle, which costs one empty claim.

use std::{cell::RefCell, future::Future};

tokio::task_local! {
    static QUEUES: RefCell<Vec<String>>;
}

/// Notes a queue, if a handler is running in this task.
pub(crate) fn note(queue: &str) {
    let _ = QUEUES.try_with(|queues| {
        let mut queues = queues.borrow_mut();
        if queues.iter().all(|known| known != queue) {
            queues.push(queue.to_owned());
        }
    });
}

/// Runs a handler; answers with its result and the queues it noted.
pub(crate) async fn collect<F: Future>(handler: F) -> (F::Output, Vec<String>) {
    QUEUES
        .scope(RefCell::new(Vec::new()), async {
            let result = handler.await;
            (result, QUEUES.with(RefCell::take))
        })
        .await
}
