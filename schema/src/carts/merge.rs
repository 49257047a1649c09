//! What happens to a guest's cart at log-in.

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Bytea, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Owner, open};
use crate::{Conn, Currency, sql::sql};

#[derive(QueryableByName)]
struct Guest {
    #[diesel(sql_type = Text)]
    currency: String,
}

/// Moves the lines of a guest's cart into the customer's open cart, which is opened if there is none; of a variant in
/// both, the larger quantity stays. Returns the customer's cart, or `None` if the guest's is not open (any more).
pub async fn into_customer(
    conn: &mut Conn,
    guest_cart: Uuid,
    token_hash: &[u8],
    customer_id: Uuid,
) -> QueryResult<Option<Uuid>> {
    let guest: Option<Guest> =
        sql("update carts set status = 'merged', version = version + 1, updated_at = now()
         where id = $1 and token_hash = $2 and customer_id is null and status = 'open' and expires_at > now()
         returning currency::text as currency")
        .bind::<SqlUuid, _>(guest_cart)
        .bind::<Bytea, _>(token_hash)
        .get_result(conn)
        .await
        .optional()?;
    let Some(guest) = guest else { return Ok(None) };
    let currency = Currency::parse(&guest.currency)
        .map_err(|e| diesel::result::Error::DeserializationError(Box::new(e)))?;
    let owner = Owner::Customer(customer_id);
    let (cart, _) = open(conn, &owner, currency).await?;
    sql("with moved as (delete from cart_lines where cart_id = $1 returning variant_id, quantity, added_at)
         insert into cart_lines (cart_id, variant_id, quantity, added_at)
         select $2, variant_id, quantity, added_at from moved
         on conflict (cart_id, variant_id)
             do update set quantity = greatest(cart_lines.quantity, excluded.quantity)")
    .bind::<SqlUuid, _>(guest_cart)
    .bind::<SqlUuid, _>(cart.id)
    .execute(conn)
    .await?;
    super::touch(conn, &owner, cart.id).await?;
    Ok(Some(cart.id))
}
