//! A shop for one test: a database, products with stock, a gateway, and jobs run by hand.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use rust_decimal::Decimal;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::testing::{Ran, TestDatabase, run_one};
use waybill_jobs::{Job, JobContext, JobResult, Registry, enqueue, kinds::RunCheckout};
use waybill_schema::orders::{NewLine, NewOrder, place};
use waybill_schema::{Conn, Currency, Email, Money, Pool, Quantity, UnitPrice, new_id, sql};
use waybill_workers::checkout::{self, CheckoutDeps};
use waybill_workers::housekeeping::{self, HousekeepingDeps, Stores};
use waybill_workers::payments::{self, BreakerSettings, Gateway, Gateways, PaymentsDeps};

use crate::fake_gateway::FakeGateway;

pub const MAIN: &str = "00000000-0000-7000-8000-000000000001";

/// Breaker settings that stay out of the way.
pub const NO_BREAKER: BreakerSettings =
    BreakerSettings { failures: 1_000_000, open_for: Duration::from_millis(1) };

#[derive(Debug, Clone)]
pub struct Variant {
    pub id: Uuid,
    pub product_id: Uuid,
    pub sku: String,
    pub price: &'static str,
}

/// An order as tests ask after it.
#[derive(Debug, Clone, QueryableByName)]
pub struct Seen {
    #[diesel(sql_type = Text)]
    pub status: String,
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub reason_code: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    #[diesel(sql_type = Text)]
    pub payment: String,
    #[diesel(sql_type = Text)]
    pub history: String,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Nullable<Text>)]
    word: Option<String>,
}

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = SmallInt)]
    attempt: i16,
    #[diesel(sql_type = SmallInt)]
    max_attempts: i16,
    #[diesel(sql_type = BigInt)]
    claim: i64,
    #[diesel(sql_type = Integer)]
    snoozes: i32,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    correlation_id: Option<Uuid>,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

pub struct World {
    pub db: TestDatabase,
    pub gateway: FakeGateway,
    pub registry: Registry,
}

/// What a test may want otherwise.
pub struct Settings {
    pub reservation_ttl: Duration,
    pub stock_wait: Duration,
    pub gateway_timeout: Duration,
    pub breaker: BreakerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reservation_ttl: Duration::from_mins(10),
            stock_wait: Duration::from_secs(30),
            gateway_timeout: Duration::from_millis(100),
            breaker: NO_BREAKER,
        }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let gateway = FakeGateway::default();
        Self::at(settings, gateway.clone(), gateway).await
    }

    /// With another gateway than the one in memory.
    pub async fn at(settings: Settings, gateway: impl Gateway, fake: FakeGateway) -> Self {
        let gateways = Gateways::default().with(gateway, settings.breaker, settings.gateway_timeout);
        let deps = CheckoutDeps {
            gateways: gateways.clone(),
            reservation_ttl: settings.reservation_ttl,
            stock_wait: settings.stock_wait,
        };
        let registry = checkout::register(Registry::new(), &Arc::new(deps.clone()));
        let registry = payments::register(registry, &Arc::new(PaymentsDeps { gateways }));
        let registry =
            housekeeping::register(registry, &Arc::new(HousekeepingDeps::default()), Stores::default());
        Self { db: TestDatabase::create().await, gateway: fake, registry }
    }

    pub fn pool(&self) -> &Pool {
        self.db.pool()
    }

    /// A product with one variant and this much stock.
    pub async fn variant(&self, sku: &str, price: &'static str, on_hand: i32) -> Variant {
        let (id, product_id) = (new_id(), new_id());
        TestDatabase::execute(&self.db, &format!(
                "insert into products (id, slug, name, status) values ('{product_id}', '{sku}', 'Thing {sku}', 'active');
                 insert into variants (id, product_id, sku, price, currency)
                 values ('{id}', '{product_id}', '{sku}', {price}, 'GBP');"
            ))
            .await;
        let variant = Variant { id, product_id, sku: sku.to_owned(), price };
        self.stock(&variant, MAIN, on_hand).await;
        variant
    }

    /// Puts stock of a variant into a location.
    pub async fn stock(&self, variant: &Variant, location: &str, on_hand: i32) {
        let (id, ledger) = (variant.id, new_id());
        TestDatabase::execute(&self.db, &format!(
                "insert into stock_levels (variant_id, location_id, on_hand) values ('{id}', '{location}', {on_hand});
                 insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta)
                 select '{ledger}', '{id}', '{location}', 'purchase', {on_hand}, 0 where {on_hand} > 0;"
            ))
            .await;
    }

    /// Places an order and enqueues its job; returns both ids.
    pub async fn order(&self, lines: &[(&Variant, i64)]) -> (Uuid, Uuid) {
        self.order_with("tok_visa", lines).await
    }

    pub async fn order_with(&self, token: &str, lines: &[(&Variant, i64)]) -> (Uuid, Uuid) {
        let order = new_order(token, lines);
        let mut conn = self.db.conn().await;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                place(conn, &order).await.unwrap();
                let job = enqueue(conn, &RunCheckout { order_id: order.id }).await.unwrap();
                Ok::<_, diesel::result::Error>((order.id, job))
            })
            .await
            .unwrap()
    }

    /// Runs one attempt of a job, whether its time has come or not.
    pub async fn run(&self, job: Uuid) -> Ran {
        run_one(self.pool(), &self.registry, job).await
    }

    /// Runs a job until it is over; panics if that takes more than `most` attempts.
    pub async fn run_to_end(&self, job: Uuid, most: usize) -> Ran {
        for _ in 0..most {
            let ran = self.run(job).await;
            if !matches!(ran.outcome, "snoozed" | "retried") {
                return ran;
            }
        }
        panic!(
            "job {job} is not over after {most} attempts: {:?}",
            self.number("select snoozes::bigint as number from jobs").await
        );
    }

    /// Another job for the same order.
    pub async fn enqueue(&self, order_id: Uuid) -> Uuid {
        enqueue(&*self.db.conn().await, &RunCheckout { order_id }).await.unwrap()
    }

    /// Claims a job as a worker does, whoever has it.
    pub async fn claim(&self, job: Uuid) -> JobContext {
        let claimed: Claimed = sql(
            "update jobs set state = 'running', worker_id = $2, attempt = attempt + 1, claim = claim + 1
             where id = $1 returning kind, attempt, max_attempts, claim, snoozes, correlation_id, created_at",
        )
        .bind::<SqlUuid, _>(job)
        .bind::<SqlUuid, _>(new_id())
        .get_result(&mut self.db.conn().await)
        .await
        .unwrap();
        JobContext {
            id: job,
            kind: claimed.kind,
            attempt: claimed.attempt,
            max_attempts: claimed.max_attempts,
            claim: claimed.claim,
            snoozes: claimed.snoozes,
            correlation_id: claimed.correlation_id,
            created_at: claimed.created_at,
            flow_id: None,
            step: None,
            undo: false,
            scheduled: None,
            logs: waybill_jobs::logs::Logs::default(),
            pool: self.pool().clone(),
            clock: waybill_jobs::Clock::system(),
            cancelled: CancellationToken::new(),
        }
    }

    /// Runs a checkout under a claim, and leaves the job as the handler does.
    pub async fn handle(&self, cx: &JobContext) -> JobResult {
        let payload = serde_json::json!({ "order_id": cx.correlation_id });
        self.registry.get(RunCheckout::KIND).unwrap().run((&payload).into(), cx.clone()).await
    }

    /// What the reaper does with the job of a worker that died.
    pub async fn take_over(&self, job: Uuid) {
        sql("update jobs set state = 'queued', worker_id = null where id = $1 and state = 'running'")
            .bind::<SqlUuid, _>(job)
            .execute(&mut self.db.conn().await)
            .await
            .unwrap();
    }

    pub async fn seen(&self, order: Uuid) -> Seen {
        sql("select status, step, reason_code, reason,
                    coalesce((select status from payments where order_id = o.id), 'none') as payment,
                    (select string_agg(step || coalesce(':' || reason_code, ''), ' ' order by version)
                     from order_history where order_id = o.id) as history
             from orders o where id = $1")
        .bind::<SqlUuid, _>(order)
        .get_result(&mut self.db.conn().await)
        .await
        .unwrap()
    }

    pub async fn number(&self, query: &str) -> i64 {
        let row: Number = diesel::sql_query(query.to_owned())
            .get_result(&mut self.db.conn().await)
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        row.number
    }

    pub async fn word(&self, query: &str) -> Option<String> {
        let row: Word = diesel::sql_query(query.to_owned())
            .get_result(&mut self.db.conn().await)
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        row.word
    }

    /// (on hand, reserved) of a variant over all locations.
    pub async fn level(&self, variant: &Variant) -> (i64, i64) {
        let sum = |column: &str| {
            format!("select sum({column}) as number from stock_levels where variant_id = '{}'", variant.id)
        };
        (self.number(&sum("on_hand")).await, self.number(&sum("reserved")).await)
    }

    /// Topics written to the outbox, in order.
    pub async fn topics(&self) -> String {
        self.word("select string_agg(topic, ' ' order by seq) as word from outbox").await.unwrap_or_default()
    }

    /// What must hold whenever nothing is under way.
    pub async fn assert_sound(&self) {
        let off = self
            .number(
                "select count(*) as number from stock_levels s cross join lateral (
                     select coalesce(sum(on_hand_delta), 0) as on_hand, coalesce(sum(reserved_delta), 0) as reserved
                     from stock_ledger l where l.variant_id = s.variant_id and l.location_id = s.location_id) l
                 where l.on_hand <> s.on_hand or l.reserved <> s.reserved",
            )
            .await;
        assert_eq!(off, 0, "levels that differ from their ledger");
        let gaps = self
            .number(
                "select count(*) as number from orders o
                 where version <> (select count(*) from order_history where order_id = o.id)",
            )
            .await;
        assert_eq!(gaps, 0, "orders whose history has gaps");
    }

    /// What must hold when every order has come to its end.
    pub async fn assert_settled(&self) {
        self.assert_sound().await;
        for (what, query) in [
            ("orders are pending", "select count(*) as number from orders where status = 'pending'"),
            ("stock is reserved", "select count(*) as number from stock_levels where reserved <> 0"),
            ("effects are open", "select count(*) as number from effects where state = 'started'"),
            ("jobs are live", "select count(*) as number from jobs"),
            ("jobs are dead", "select count(*) as number from dead_letters"),
            (
                "orders are confirmed without their money",
                "select count(*) as number from orders o where status = 'confirmed' and not exists (
                     select 1 from payments where order_id = o.id and status = 'captured' and captured = o.total)",
            ),
            (
                "orders are cancelled with money",
                "select count(*) as number from orders o join payments p on p.order_id = o.id
                 where o.status = 'cancelled' and (p.status = 'authorized' or p.captured > p.refunded)",
            ),
            (
                "orders are announced not exactly once",
                "select count(*) as number from orders o where 1 <> (
                     select count(*) from outbox where aggregate_id = o.id
                     and topic = case o.status when 'confirmed' then 'order.confirmed' else 'order.cancelled' end)",
            ),
        ] {
            assert_eq!(self.number(query).await, 0, "{what}");
        }
        // The gateway's books, order by order.
        for (order, status) in self.statuses().await {
            let holds = self.gateway.holds(&order.to_string());
            let kept: Decimal = holds.iter().map(|hold| hold.captured - hold.refunded).sum();
            assert!(holds.len() <= 1, "order {order} was authorized {} times", holds.len());
            if status == "confirmed" {
                assert!(kept > Decimal::ZERO, "order {order} is confirmed and not paid");
            } else {
                assert_eq!(kept, Decimal::ZERO, "order {order} is {status} and was charged");
                let held = holds.iter().any(|hold| !hold.voided && hold.captured.is_zero());
                assert!(!held, "order {order} is {status} and money is held");
            }
        }
    }

    async fn statuses(&self) -> Vec<(Uuid, String)> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = SqlUuid)]
            id: Uuid,
            #[diesel(sql_type = Text)]
            status: String,
        }
        let rows: Vec<Row> = sql("select id, status from orders where total > 0")
            .load(&mut self.db.conn().await)
            .await
            .unwrap();
        rows.into_iter().map(|row| (row.id, row.status)).collect()
    }
}

pub fn new_order(token: &str, lines: &[(&Variant, i64)]) -> NewOrder {
    let lines: Vec<NewLine> = lines
        .iter()
        .map(|(variant, quantity)| {
            let unit_price = UnitPrice::new(variant.price.parse().unwrap(), Currency::GBP).unwrap();
            let quantity = Quantity::new(*quantity).unwrap();
            NewLine {
                variant_id: variant.id,
                product_id: variant.product_id,
                sku: variant.sku.clone(),
                name: format!("Thing {}", variant.sku),
                variant_title: String::new(),
                quantity,
                unit_price,
                agreed: false,
                total: unit_price.line_total(quantity).unwrap(),
            }
        })
        .collect();
    let total = Money::sum(lines.iter().map(|line| line.total), Currency::GBP).unwrap();
    NewOrder {
        id: new_id(),
        customer_id: None,
        guest_token_hash: None,
        email: Email::parse("buyer@example.com").unwrap(),
        cart_id: None,
        reference: None,
        subtotal: total,
        total,
        shipping_address: json!({}),
        billing_address: json!({}),
        lines,
        gateway: "sandbox".to_owned(),
        method_token: token.to_owned(),
        actor: "guest".to_owned(),
    }
}
