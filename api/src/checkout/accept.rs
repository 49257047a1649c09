//! Accepting a checkout: one transaction that writes the order, its job, its event and its answer.
//!
//! Statements that do not need each other's answers are sent together. A checkout of lines takes five round trips to the
//! database, begin and commit included, one of a cart six; one by one they would be nine and eleven.

use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{Enqueue, Job, emit, enqueue_with, events::OrderPlaced, events_lane, kinds::RunCheckout};
use waybill_schema::{
    Conn, Email, Money,
    carts::{
        self, CartRow, CartStatus, Owner,
        lines::{CartLine, Offer},
    },
    idempotency::Answer,
    new_id,
    orders::{self, NewOrder, PlaceError},
};

use super::{
    buyer::Buyer,
    guest,
    parse::{Draft, Source, Terms},
    price::{self, Priced},
};
use crate::{
    auth::secret,
    error::{ApiError, ApiResult, FieldErrors, codes},
    idempotency::Key,
    middleware::backpressure::Refused,
    orders::{dto::OrderDto, find},
    state::AppState,
};

/// The status of the answer, as it is stored.
const ACCEPTED: i16 = 202;

/// What the catalogue, and the cart, say of what is to be bought.
enum Goods {
    Offers(Vec<Offer>),
    Cart(CartRow, Vec<CartLine>),
}

/// Places the order; or finds the one that this very request, or another checkout of the same cart, has placed. While new
/// orders are `refused` it only finds what this very request has placed.
pub async fn accept(
    state: &AppState,
    buyer: Buyer,
    draft: Draft,
    key: Option<Key>,
    refused: Option<&Refused>,
) -> ApiResult<OrderDto> {
    let owner = match &draft.source {
        Source::Cart { .. } => Some(buyer.cart_owner()?),
        Source::Lines(_) => None,
    };
    let mut conn = state.conn().await?;
    let (order, placed) = (*conn)
        .transaction(async |conn: &mut Conn| {
            if let Some(refused) = refused {
                let answer = look(conn, key.as_ref()).await?.ok_or_else(|| refused.error())?;
                return Ok((guest::open(&state.vault, answer.body.unwrap_or_default())?, false));
            }
            let (answer, offers, own_email) = tokio::try_join!(
                look(conn, key.as_ref()),
                offers(conn, &draft.source),
                buyer.own_email(conn),
            )?;
            if let Some(Answer { body, .. }) = answer {
                return Ok::<_, ApiError>((guest::open(&state.vault, body.unwrap_or_default())?, false));
            }
            let goods = match (&draft.source, &owner) {
                (Source::Cart { id, .. }, Some(owner)) => {
                    let taken = carts::take(conn, owner, *id);
                    let (taken, lines) = tokio::try_join!(taken, carts::lines::of_cart(conn, *id))?;
                    let Some(cart) = taken else {
                        let order = of_closed_cart(conn, &buyer, owner, *id).await?;
                        store(state, conn, key.as_ref(), &order).await?;
                        return Ok((order, false));
                    };
                    Goods::Cart(cart, lines)
                }
                _ => Goods::Offers(offers),
            };
            let order = place(state, conn, &buyer, draft, own_email, goods, key.as_ref()).await?;
            Ok((order, true))
        })
        .await?;
    if placed {
        state.notifier.hint(RunCheckout::QUEUE);
        state.notifier.hint(events_lane::OUTBOX_HINT);
        metrics::counter!("waybill_checkouts_accepted_total").increment(1);
    }
    Ok(order)
}

async fn look(conn: &Conn, key: Option<&Key>) -> ApiResult<Option<Answer>> {
    match key {
        Some(key) => key.look(conn).await,
        None => Ok(None),
    }
}

async fn offers(conn: &Conn, source: &Source) -> ApiResult<Vec<Offer>> {
    let Source::Lines(wanted) = source else { return Ok(Vec::new()) };
    let mut skus: Vec<&str> = wanted.iter().map(|line| line.sku.as_str()).collect();
    skus.sort_unstable();
    skus.dedup();
    Ok(carts::lines::offers(conn, &skus).await?)
}

/// The order that a cart has become already; 404 or 409 if it has become none.
async fn of_closed_cart(conn: &mut Conn, buyer: &Buyer, owner: &Owner, id: Uuid) -> ApiResult<OrderDto> {
    let cart = carts::for_owner(conn, owner, id).await?.ok_or_else(|| ApiError::not_found("cart"))?;
    if cart.status == CartStatus::CheckedOut
        && let Some(row) = orders::read::of_cart(conn, id).await?
    {
        let mut order = find::with_lines(conn, row).await?;
        if order.customer_id.is_none() {
            order.guest_token = buyer.cart_token.as_deref().map(guest::of_cart).transpose()?;
        }
        return Ok(order);
    }
    Err(ApiError::conflict(codes::CONFLICT, format!("the cart is {}: fill another", cart.status)))
}

async fn place(
    state: &AppState,
    conn: &mut Conn,
    buyer: &Buyer,
    draft: Draft,
    own_email: Option<String>,
    goods: Goods,
    key: Option<&Key>,
) -> ApiResult<OrderDto> {
    let Draft { source, mut terms, mut errors } = draft;
    let priced = price(state, &source, &terms, &goods, &mut errors)?;
    let email = buyer.email(own_email, &mut terms, &mut errors)?;
    let (priced, email) = errors.finish(priced.zip(email))?;
    check_total(&terms, priced.total)?;

    let cart = match &goods {
        Goods::Cart(cart, _) => Some(cart),
        Goods::Offers(_) => None,
    };
    let (order, guest_token) = order(state, buyer, &terms, priced, email, cart)?;
    let placed = orders::place(conn, &order).await.map_err(|error| match error {
        PlaceError::Database(error) => error.into(),
        other => ApiError::internal(other),
    })?;
    let job = RunCheckout { order_id: order.id };
    let options = Enqueue {
        owner_id: order.customer_id,
        // A guest has no other id than their order's.
        subject_id: Some(order.customer_id.unwrap_or(order.id)),
        ..Enqueue::default()
    };
    let event = OrderPlaced {
        order_id: order.id,
        number: placed.number,
        reference: order.reference.clone(),
        customer_id: order.customer_id,
        total: order.total,
        placed_at: placed.placed_at,
    };
    let dto = OrderDto::placed(&order, &placed, terms.shipping, terms.billing);
    let dto = OrderDto { guest_token, ..dto };
    let enqueue = async { Ok::<_, ApiError>(enqueue_with(conn, &job, options).await?) };
    let emit = async { Ok::<_, ApiError>(emit(conn, &event, None).await?) };
    tokio::try_join!(enqueue, emit, store(state, conn, key, &dto))?;
    Ok(dto)
}

async fn store(state: &AppState, conn: &Conn, key: Option<&Key>, order: &OrderDto) -> ApiResult<()> {
    let Some(key) = key else { return Ok(()) };
    let body = Some(guest::seal(&state.vault, order)?);
    key.store(conn, &Answer { status: ACCEPTED, location: Some(order.location()), body }).await
}

fn price(
    state: &AppState,
    source: &Source,
    terms: &Terms,
    goods: &Goods,
    errors: &mut FieldErrors,
) -> ApiResult<Option<Priced>> {
    match (source, goods) {
        (Source::Cart { agreed, .. }, Goods::Cart(cart, lines)) => {
            let currency = cart.currency.parse().map_err(ApiError::internal)?;
            if terms.currency.is_some_and(|asked| asked != currency) {
                errors.add("currency", "invalid", format!("the cart is in {currency}"));
            }
            Ok(price::cart(lines, agreed, currency, errors))
        }
        (Source::Lines(wanted), Goods::Offers(offers)) => {
            Ok(price::lines(wanted, offers, terms.currency.unwrap_or(state.currency), errors))
        }
        _ => Err(ApiError::internal("the goods are not those that were asked for")),
    }
}

fn check_total(terms: &Terms, total: Money) -> ApiResult<()> {
    match terms.expected_total {
        Some(expected) if expected != total.amount() => {
            let body = serde_json::json!({
                "amount": total.amount().to_string(),
                "currency": total.currency().as_str(),
            });
            Err(ApiError::conflict(codes::TOTAL_CHANGED, format!("the total is {total}")).with("total", body))
        }
        _ => Ok(()),
    }
}

/// The order as it will be written, and the token a guest is told.
fn order(
    state: &AppState,
    buyer: &Buyer,
    terms: &Terms,
    priced: Priced,
    email: Email,
    cart: Option<&CartRow>,
) -> ApiResult<(NewOrder, Option<String>)> {
    let guest_token = match buyer.customer_id {
        Some(_) => None,
        None => Some(guest::token(cart.and(buyer.cart_token.as_deref()))?),
    };
    let order = NewOrder {
        id: new_id(),
        customer_id: buyer.customer_id,
        guest_token_hash: guest_token.as_deref().map(secret::hash),
        email,
        cart_id: cart.map(|cart| cart.id),
        reference: terms.reference.clone(),
        subtotal: priced.total,
        total: priced.total,
        shipping_address: terms.shipping.to_value(),
        billing_address: terms.billing.to_value(),
        lines: priced.lines,
        gateway: state.gateway_name().to_owned(),
        method_token: terms.payment_token.clone(),
        actor: buyer.actor.clone(),
    };
    Ok((order, guest_token))
}
