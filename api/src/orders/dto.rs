//! An order on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object, types::ToJSON};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{
    Currency, Money, UnitPrice,
    domain::text_enum::UnknownText,
    orders::{LineRow, NewOrder, OrderRow, Placed},
};

use crate::{
    error::{ApiError, ApiResult},
    http::{MoneyDto, UnitPriceDto},
};

/// An enum of the API with the spellings of the one in the schema.
macro_rules! mirror {
    ($(#[$meta:meta])* $name:ident of $source:ty, $rename:literal { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
        #[oai(rename = $rename, rename_all = "snake_case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl From<$source> for $name {
            fn from(value: $source) -> Self {
                match value { $(<$source>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $source {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

mirror! {
    /// Where an order is in its life.
    OrderStatus of waybill_schema::OrderStatus, "OrderStatus" {
        /// Accepted; the checkout is under way.
        Pending,
        /// Paid, stock sold.
        Confirmed,
        /// Being picked and packed.
        Processing,
        /// Handed to a carrier.
        Shipped,
        /// Arrived.
        Delivered,
        /// Ended before shipping; stock and money are back.
        Cancelled,
        /// The money is back after delivery.
        Refunded,
    }
}

mirror! {
    /// Where the checkout of an order stands; each value is a durable fact.
    CheckoutStep of waybill_schema::CheckoutStep, "CheckoutStep" {
        /// Written, its job queued.
        Accepted,
        /// Every line's stock is reserved.
        Reserved,
        /// The gateway holds the amount.
        Authorized,
        /// The gateway has taken the amount.
        Captured,
        /// Stock sold, order confirmed.
        Completed,
        /// Refused: stock and money are on their way back.
        Compensating,
        /// Stock and money are back, the order is cancelled.
        Compensated,
    }
}

mirror! {
    /// What has become of a payment's money.
    PaymentStatus of waybill_schema::PaymentStatus, "PaymentStatus" {
        /// Nothing is held or taken yet.
        Pending,
        /// The gateway holds the amount.
        Authorized,
        /// The gateway has taken the amount.
        Captured,
        /// The hold was given up.
        Voided,
        /// The issuer refused.
        Declined,
        /// The gateway refused.
        Failed,
        /// Part of the amount went back.
        PartiallyRefunded,
        /// All of it went back.
        Refunded,
    }
}

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(deny_unknown_fields)]
pub struct Address {
    /// Who lives there, 1 to 200 characters.
    pub name: String,
    /// Street and number, 1 to 200 characters.
    pub line1: String,
    /// Flat, floor, building.
    #[oai(skip_serializing_if_is_none)]
    pub line2: Option<String>,
    /// Town, 1 to 100 characters.
    pub city: String,
    /// State, province, county.
    #[oai(skip_serializing_if_is_none)]
    pub region: Option<String>,
    /// Postal code.
    #[oai(skip_serializing_if_is_none)]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, `GB`.
    pub country: String,
    /// Telephone, for the carrier.
    #[oai(skip_serializing_if_is_none)]
    pub phone: Option<String>,
}

/// A line as it was frozen at checkout.
#[derive(Debug, Clone, Object)]
pub struct OrderLine {
    /// From 1.
    pub position: i32,
    /// Stock keeping unit.
    pub sku: String,
    /// Product name.
    pub name: String,
    /// Pieces.
    pub quantity: i32,
    /// Price of one.
    pub unit_price: UnitPriceDto,
    /// Unit price x quantity, rounded half away from zero to the currency's decimals.
    pub total: MoneyDto,
    /// Whether the price was agreed for this order instead of taken from the catalogue.
    pub agreed: bool,
}

/// What the order's payment says.
#[derive(Debug, Clone, Object)]
pub struct OrderPayment {
    /// Status.
    pub status: PaymentStatus,
    /// Taken.
    pub captured: MoneyDto,
    /// Given back.
    pub refunded: MoneyDto,
    /// Why the issuer refused, such as `insufficient_funds`.
    pub decline_code: Option<String>,
}

/// An order: what was bought, where it stands, and why it stands there.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Order")]
pub struct OrderDto {
    /// Id.
    pub id: Uuid,
    /// Number, as people see it.
    pub number: i64,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Where its checkout stands.
    pub step: CheckoutStep,
    /// Why, for programs: `waiting_for_stock`, `gateway_unavailable`, `out_of_stock`, `payment_declined`,
    /// `payment_failed`, `reservation_expired`, ...
    pub reason_code: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// Sum of the lines.
    pub subtotal: MoneyDto,
    /// What is charged.
    pub total: MoneyDto,
    /// Where mails about it go.
    pub email: String,
    /// The buyer's own reference.
    pub reference: Option<String>,
    /// The registered customer; null for a guest.
    pub customer_id: Option<Uuid>,
    /// The lines, in the order they were given.
    pub lines: Vec<OrderLine>,
    /// Its payment.
    pub payment: Option<OrderPayment>,
    /// Where it goes.
    pub shipping_address: Address,
    /// Where the invoice goes.
    pub billing_address: Address,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was confirmed.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// +1 with every change: the `ETag` is `"v<version>"`.
    pub version: i64,
    /// Everything the order has caused.
    pub trail_url: String,
    /// For `X-Order-Token`: lets a guest read the order. Only in the answer to a guest's checkout.
    #[oai(skip_serializing_if_is_none)]
    pub guest_token: Option<String>,
}

impl OrderDto {
    /// An order with its lines, as the database has them.
    pub fn new(row: OrderRow, lines: Vec<LineRow>) -> ApiResult<Self> {
        let currency = currency(&row.currency)?;
        let money = |amount: Decimal| Ok::<_, ApiError>(MoneyDto::from(Money::new(amount, currency)?));
        let lines = lines.into_iter().map(|line| {
            Ok(OrderLine {
                position: line.position,
                sku: line.sku,
                name: line.name,
                quantity: line.quantity,
                unit_price: UnitPrice::new(line.unit_price, currency)?.into(),
                total: money(line.total)?,
                agreed: line.agreed,
            })
        });
        let lines = lines.collect::<ApiResult<_>>()?;
        let payment = match row.payment.payment_status {
            Some(status) => Some(OrderPayment {
                status: status
                    .parse::<waybill_schema::PaymentStatus>()
                    .map_err(|e: UnknownText| ApiError::internal(e))?
                    .into(),
                captured: money(row.payment.captured.unwrap_or_default())?,
                refunded: money(row.payment.refunded.unwrap_or_default())?,
                decline_code: row.payment.decline_code,
            }),
            None => None,
        };
        Ok(Self {
            id: row.id,
            number: row.number,
            status: row.status.into(),
            step: row.step.into(),
            reason_code: row.reason_code,
            reason: row.reason,
            currency: currency.to_string(),
            subtotal: money(row.subtotal)?,
            total: money(row.total)?,
            email: row.email,
            reference: row.reference,
            customer_id: row.customer_id,
            lines,
            payment,
            shipping_address: Address::from_value(row.shipping_address),
            billing_address: Address::from_value(row.billing_address),
            placed_at: row.placed_at,
            updated_at: row.updated_at,
            confirmed_at: row.confirmed_at,
            cancelled_at: row.cancelled_at,
            version: row.version,
            trail_url: trail_url(row.id),
            guest_token: None,
        })
    }

    /// An order that was placed this moment; costs no query.
    pub fn placed(order: &NewOrder, placed: &Placed, shipping: Address, billing: Address) -> Self {
        let currency = order.total.currency();
        let zero = Money::zero(currency);
        let lines = order.lines.iter().zip(1..).map(|(line, position)| OrderLine {
            position,
            sku: line.sku.clone(),
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: line.unit_price.into(),
            total: line.total.into(),
            agreed: line.agreed,
        });
        Self {
            id: order.id,
            number: placed.number,
            status: OrderStatus::Pending,
            step: CheckoutStep::Accepted,
            reason_code: None,
            reason: None,
            currency: currency.to_string(),
            subtotal: order.subtotal.into(),
            total: order.total.into(),
            email: order.email.as_str().to_owned(),
            reference: order.reference.clone(),
            customer_id: order.customer_id,
            lines: lines.collect(),
            payment: Some(OrderPayment {
                status: PaymentStatus::Pending,
                captured: zero.into(),
                refunded: zero.into(),
                decline_code: None,
            }),
            shipping_address: shipping,
            billing_address: billing,
            placed_at: placed.placed_at,
            updated_at: placed.placed_at,
            confirmed_at: None,
            cancelled_at: None,
            version: 1,
            trail_url: trail_url(order.id),
            guest_token: None,
        }
    }

    /// Whether its checkout has come to its end.
    pub fn is_settled(&self) -> bool {
        waybill_schema::OrderStatus::from(self.status).is_settled()
    }

    /// Its path.
    pub fn location(&self) -> String {
        format!("/v1/orders/{}", self.id)
    }
}

impl Address {
    /// As it is kept.
    pub fn to_value(&self) -> Value {
        self.to_json().unwrap_or_default()
    }

    /// As it was kept, by this version or another: what is not known here is left out, what is missing is empty.
    fn from_value(mut value: Value) -> Self {
        let mut take = |name: &str| match value.get_mut(name).map(Value::take) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Self {
            name: take("name").unwrap_or_default(),
            line1: take("line1").unwrap_or_default(),
            line2: take("line2"),
            city: take("city").unwrap_or_default(),
            region: take("region"),
            postal_code: take("postal_code"),
            country: take("country").unwrap_or_default(),
            phone: take("phone"),
        }
    }
}

fn trail_url(id: Uuid) -> String {
    format!("/v1/orders/{id}/trail")
}

fn currency(code: &str) -> ApiResult<Currency> {
    Currency::parse(code).map_err(ApiError::internal)
}
