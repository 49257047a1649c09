//! Who buys, and for whom.

use uuid::Uuid;
use waybill_schema::{Conn, Email, carts::Owner, orders};

use super::parse::{Source, Terms};
use crate::{
    auth::{Caller, Scope, secret},
    error::{ApiError, ApiResult, FieldErrors},
};

/// Who buys.
#[derive(Debug)]
pub struct Buyer {
    /// For the order's history.
    pub actor: String,
    /// The registered customer; none for a guest.
    pub customer_id: Option<Uuid>,
    /// The customer's own address, where the caller's credentials tell it.
    known_email: Option<String>,
    /// The token of a guest's cart.
    pub cart_token: Option<String>,
}

impl Buyer {
    /// Who buys, by the caller's credentials. Keys act for customers, or for guests; nobody else acts for another.
    pub fn new(caller: &Caller, customer_id: Option<Uuid>, cart_token: Option<String>) -> ApiResult<Self> {
        let (customer_id, known_email) = match caller {
            Caller::ApiKey(_) => {
                caller.require(Scope::OrdersWrite)?;
                (customer_id, None)
            }
            _ if customer_id.is_some() => {
                return Err(ApiError::forbidden("only an API key with orders:write acts for a customer"));
            }
            Caller::Customer(user) | Caller::Admin(user) => (Some(user.id), Some(user.email.clone())),
            Caller::Guest => (None, None),
        };
        Ok(Self { actor: caller.actor(), customer_id, known_email, cart_token })
    }

    /// Whose cart may be checked out: a guest's by its token, else the customer's own.
    pub fn cart_owner(&self) -> ApiResult<Owner> {
        match (&self.cart_token, self.customer_id) {
            (Some(token), _) => Ok(Owner::Guest(secret::hash(token))),
            (None, Some(customer_id)) => Ok(Owner::Customer(customer_id)),
            (None, None) => Err(ApiError::unauthenticated("a guest's cart needs its token in X-Cart-Token")),
        }
    }

    /// The customer's own address. None for a guest, and for a customer that there is not.
    pub async fn own_email(&self, conn: &Conn) -> ApiResult<Option<String>> {
        match (self.customer_id, &self.known_email) {
            (Some(customer_id), None) => Ok(orders::buyer_email(conn, customer_id).await?),
            (_, known) => Ok(known.clone()),
        }
    }

    /// Where mails about the order go: where the request says, else to the customer. A guest must say.
    pub fn email(
        &self,
        own: Option<String>,
        terms: &mut Terms,
        errors: &mut FieldErrors,
    ) -> ApiResult<Option<Email>> {
        if self.customer_id.is_some() && own.is_none() {
            errors.add("customer_id", "unknown", "there is no such customer");
            return Ok(None);
        }
        Ok(match (terms.email.take(), own) {
            (Some(email), _) => Some(email),
            // The address got in as an `Email`.
            (None, Some(own)) => Some(Email::parse(&own).map_err(ApiError::internal)?),
            (None, None) => {
                if !terms.email_given {
                    errors.add("email", "required", "is required from guests");
                }
                None
            }
        })
    }

    /// Whose idempotency keys these are. A guest is known by the cart, or by the address given.
    pub fn key_scope(&self, caller: &Caller, source: &Source, email: Option<&Email>) -> String {
        let short = |text: &str| hex::encode(&secret::hash(text)[..16]);
        match (caller, source) {
            (Caller::ApiKey(key), _) => format!("api_key:{}", key.id),
            (Caller::Customer(user) | Caller::Admin(user), _) => format!("user:{}", user.id),
            (Caller::Guest, Source::Cart { id, .. }) => {
                format!("cart:{id}:{}", short(self.cart_token.as_deref().unwrap_or_default()))
            }
            (Caller::Guest, Source::Lines(_)) => {
                format!(
                    "guest:{}",
                    short(&email.map(|email| email.as_str().to_lowercase()).unwrap_or_default())
                )
            }
        }
    }
}
