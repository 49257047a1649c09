//! A checkout on the wire.

use poem_openapi::Object;
use uuid::Uuid;

use crate::orders::dto::Address;

/// What to buy, for whom, and how it is paid. Either `cart_id` or `lines`.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// A cart, which becomes the order. A guest's needs its token in `X-Cart-Token`.
    pub cart_id: Option<Uuid>,
    /// What to buy, without a cart; 1 to 2,000 lines. A SKU may come more than once, with other prices.
    pub lines: Option<Vec<CheckoutLine>>,
    /// Agreed prices for lines of the cart. Needs an API key with `orders:agreed_price`.
    pub agreed_prices: Option<Vec<AgreedPrice>>,
    /// Where mails about the order go. Required from guests; else the customer's own address is the default.
    pub email: Option<String>,
    /// The customer on whose behalf an API key with `orders:write` places the order.
    pub customer_id: Option<Uuid>,
    /// Where the order goes.
    pub shipping_address: Address,
    /// Where the invoice goes; the shipping address by default.
    pub billing_address: Option<Address>,
    /// How it is paid.
    pub payment: PaymentMethod,
    /// The buyer's own reference, up to 100 characters.
    pub reference: Option<String>,
    /// The total the buyer was shown, as decimal text, `12.30`. If it no longer holds, nothing is ordered: 409
    /// `total_changed` with the total as it is.
    pub expected_total: Option<String>,
    /// ISO 4217. The cart's, or the shop's own, by default.
    pub currency: Option<String>,
}

/// A line to buy.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CheckoutLine {
    /// Stock keeping unit.
    pub sku: String,
    /// Pieces, 1 to 1,000,000.
    pub quantity: i64,
    /// Price of one agreed for this order, as decimal text with up to four decimals. Needs an API key with
    /// `orders:agreed_price`.
    pub agreed_price: Option<String>,
}

/// An agreed price for a line of the cart.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct AgreedPrice {
    /// Stock keeping unit of the line.
    pub sku: String,
    /// Price of one, as decimal text with up to four decimals.
    pub unit_price: String,
}

/// A means of payment.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct PaymentMethod {
    /// The payment gateway's token for it. Never a card number.
    pub token: String,
}
