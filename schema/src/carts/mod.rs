//! Carts of guests and customers.

pub mod lines;
pub mod merge;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, Currency, new_id, sql::sql};

crate::text_enum! {
    /// What has become of a cart.
    pub enum CartStatus {
        /// Being filled.
        Open = "open",
        /// An order took it.
        CheckedOut = "checked_out",
        /// Its lines moved to the customer's cart.
        Merged = "merged",
        /// Nobody came back for a week.
        Expired = "expired",
    }
}

/// A cart without its lines.
#[derive(Debug, Clone, QueryableByName)]
pub struct CartRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its customer; none for a guest.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub customer_id: Option<Uuid>,
    /// Currency code.
    #[diesel(sql_type = Text)]
    pub currency: String,
    /// Status; an open cart past its time counts as expired.
    #[diesel(sql_type = Text)]
    pub status: CartStatus,
    /// +1 with every change.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// When it expires, 7 days after its last change.
    #[diesel(sql_type = Timestamptz)]
    pub expires_at: DateTime<Utc>,
}

/// Whose cart is asked for: part of every query, so that it cannot be forgotten.
#[derive(Debug, Clone)]
pub enum Owner {
    /// A signed-in customer.
    Customer(Uuid),
    /// SHA-256 of the token a guest holds.
    Guest(Vec<u8>),
}

impl Owner {
    const fn customer(&self) -> Option<Uuid> {
        match self {
            Self::Customer(id) => Some(*id),
            Self::Guest(_) => None,
        }
    }

    fn token_hash(&self) -> Option<&[u8]> {
        match self {
            Self::Customer(_) => None,
            Self::Guest(hash) => Some(hash),
        }
    }
}

macro_rules! cart_columns {
    () => {
        "id, customer_id, currency::text as currency,
         case when status = 'open' and expires_at <= now() then 'expired' else status end as status, version, expires_at"
    };
}

/// The owner's cart of that id.
pub async fn for_owner(conn: &mut Conn, owner: &Owner, id: Uuid) -> QueryResult<Option<CartRow>> {
    sql(concat!(
        "select ",
        cart_columns!(),
        " from carts where id = $1 and (customer_id = $2 or (customer_id is null and token_hash = $3))"
    ))
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<SqlUuid>, _>(owner.customer())
    .bind::<Nullable<Bytea>, _>(owner.token_hash())
    .get_result(conn)
    .await
    .optional()
}

/// Opens a cart. A customer has one open cart at most: if there is one already, it is returned with `false`.
pub async fn open(conn: &mut Conn, owner: &Owner, currency: Currency) -> QueryResult<(CartRow, bool)> {
    // A customer's cart past its time makes way for a new one.
    if let Owner::Customer(id) = owner {
        sql("update carts set status = 'expired', version = version + 1, updated_at = now()
             where customer_id = $1 and status = 'open' and expires_at <= now()")
        .bind::<SqlUuid, _>(*id)
        .execute(conn)
        .await?;
    }
    let created: Option<CartRow> = sql(concat!(
        "insert into carts (id, customer_id, token_hash, currency, expires_at)
         values ($1, $2, $3, $4, now() + interval '7 days')
         on conflict (customer_id) where status = 'open' and customer_id is not null do nothing
         returning ",
        cart_columns!()
    ))
    .bind::<SqlUuid, _>(new_id())
    .bind::<Nullable<SqlUuid>, _>(owner.customer())
    .bind::<Nullable<Bytea>, _>(owner.token_hash())
    .bind::<Text, _>(currency.as_str())
    .get_result(conn)
    .await
    .optional()?;
    if let Some(cart) = created {
        return Ok((cart, true));
    }
    let existing =
        sql(concat!("select ", cart_columns!(), " from carts where customer_id = $1 and status = 'open'"))
            .bind::<Nullable<SqlUuid>, _>(owner.customer())
            .get_result(conn)
            .await?;
    Ok((existing, false))
}

/// Marks a change of the owner's cart: version + 1, and seven more days. `false` if it is not open (any more). Until the
/// transaction ends nobody else changes the cart or checks it out.
pub async fn touch(conn: &mut Conn, owner: &Owner, id: Uuid) -> QueryResult<bool> {
    let touched = sql(
        "update carts set version = version + 1, updated_at = now(), expires_at = now() + interval '7 days'
         where id = $1 and (customer_id = $2 or (customer_id is null and token_hash = $3))
           and status = 'open' and expires_at > now()",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<SqlUuid>, _>(owner.customer())
    .bind::<Nullable<Bytea>, _>(owner.token_hash())
    .execute(conn)
    .await?;
    Ok(touched == 1)
}

/// Closes the owner's open cart for a checkout, in the transaction open on `conn`, and keeps its lines as they are until
/// that ends. A racing checkout waits here; when this one commits it gets `None`, and [`for_owner`] says why.
pub async fn take(conn: &Conn, owner: &Owner, id: Uuid) -> QueryResult<Option<CartRow>> {
    sql(concat!(
        "update carts set status = 'checked_out', version = version + 1, updated_at = now()
         where id = $1 and (customer_id = $2 or (customer_id is null and token_hash = $3))
           and status = 'open' and expires_at > now() returning ",
        cart_columns!()
    ))
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<SqlUuid>, _>(owner.customer())
    .bind::<Nullable<Bytea>, _>(owner.token_hash())
    .get_result(&mut &*conn)
    .await
    .optional()
}
