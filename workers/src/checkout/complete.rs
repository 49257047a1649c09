//! ... -> completed: stock sold, order confirmed, the world told, the job done, all at once.

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, Outcome};
use waybill_schema::Conn;
use waybill_schema::inventory::needs;
use waybill_schema::orders::saga::{self, Answered, Completion};

use super::advance::{Abort, Next, tell_and_finish, unless_lost};
use super::events::order_confirmed;
use super::run::Run;
use crate::fail_point;

/// The gateway's answer to the capture.
pub(super) struct CaptureAnswer<'a> {
    pub capture_ref: &'a str,
    pub answered: Answered<'a>,
}

impl Run<'_> {
    /// Confirms the order, with the capture's answer if that is not in the database yet.
    pub(super) async fn complete(&mut self, captured: Option<CaptureAnswer<'_>>) -> Result<Next, Failure> {
        let variants = needs(self.order.lines.iter().map(|line| (line.variant_id, line.quantity))).len();
        fail_point!("checkout.before_complete");
        let result = {
            let mut conn = self.cx.pool.get().await?;
            let (mover, order, cx) = (self.mover(), &self.order, self.cx);
            let completion = Completion {
                from: order.step,
                payment_id: order.payment.as_ref().map(|payment| payment.id),
                captured: captured.map(|captured| (captured.capture_ref, captured.answered)),
                variants,
            };
            (*conn)
                .transaction(async |conn: &mut Conn| {
                    let completed =
                        saga::complete(conn, mover, order.id, completion).await?.ok_or(Abort::Lost)?;
                    if usize::try_from(completed.sold) != Ok(variants) {
                        let message = format!("{} of {variants} reservations could be sold", completed.sold);
                        return Err(Abort::Failed(Failure::permanent(message)));
                    }
                    let event = order_confirmed(order, completed.confirmed_at);
                    let finished = tell_and_finish(conn, cx, &event).await?;
                    fail_point!("checkout.completing");
                    Ok((completed.confirmed_at, finished))
                })
                .await
        };
        let Some((confirmed_at, finished)) = unless_lost(result)? else { return Ok(Next::Reload) };
        fail_point!("checkout.after_complete");
        metrics::counter!("waybill_checkouts_total", "outcome" => "confirmed").increment(1);
        let took = (confirmed_at - self.order.placed_at).to_std().unwrap_or_default();
        metrics::histogram!("waybill_checkout_seconds").record(took);
        tracing::info!(order_id = %self.order.id, number = self.order.number, "order confirmed");
        Ok(Next::End(Outcome::Finished(finished)))
    }
}
