//! What an administrator does first: sign in, make a key for the shop, ask for webhooks.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::listener::Listener;
use super::signature::Secret;
use crate::client::{Caller, Client};
use crate::system::{ADMIN_EMAIL, ADMIN_PASSWORD};

const SHOP: &str = "Demonstration";

#[derive(Debug, Deserialize)]
struct Tokens {
    access_token: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: Uuid,
    #[serde(alias = "description")]
    name: String,
    #[serde(default)]
    revoked_at: Option<String>,
}

/// The administrator, and the machine key that the shop's checkouts use.
pub struct Admin {
    pub user: Client,
    pub shop: Client,
    endpoint: Uuid,
}

impl Admin {
    pub async fn sign_in(client: &Client, listener: &Listener) -> Result<Self> {
        let body = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD });
        let tokens: Tokens = client.post("/v1/auth/login", &body).await.context("signing in as admin")?;
        let user = client.as_caller(Caller::User(tokens.access_token));
        forget_earlier(&user).await?;
        let shop = shop_key(client, &user).await?;
        let endpoint = webhooks(&user, listener).await?;
        Ok(Self { user, shop, endpoint })
    }

    /// Nobody listens there any more.
    pub async fn end_webhooks(&self) -> Result<()> {
        self.user.delete(&format!("/v1/admin/webhook-endpoints/{}", self.endpoint)).await
    }
}

async fn shop_key(client: &Client, user: &Client) -> Result<Client> {
    #[derive(Deserialize)]
    struct Made {
        key: String,
    }
    let scopes = ["orders:read", "orders:write", "orders:agreed_price", "stock:write", "system:read"];
    let body = json!({ "name": SHOP, "scopes": scopes });
    let made: Made = user.post("/v1/admin/api-keys", &body).await.context("making an API key")?;
    Ok(client.as_caller(Caller::Key(made.key)))
}

async fn webhooks(user: &Client, listener: &Listener) -> Result<Uuid> {
    #[derive(Deserialize)]
    struct Made {
        id: Uuid,
        secret: String,
    }
    let body = json!({
        "url": listener.url(),
        "event_types": ["order.confirmed", "order.cancelled"],
        "description": SHOP,
    });
    let made: Made =
        user.post("/v1/admin/webhook-endpoints", &body).await.context("registering for webhooks")?;
    listener.trust(Secret::parse(&made.secret)?);
    Ok(made.id)
}

/// Keys and endpoints of runs before this one.
async fn forget_earlier(user: &Client) -> Result<()> {
    for list in ["/v1/admin/webhook-endpoints", "/v1/admin/api-keys"] {
        for item in user.all::<Named>(list).await?.into_iter().filter(|item| item.name == SHOP) {
            if item.revoked_at.is_none() {
                user.delete(&format!("{list}/{}", item.id)).await?;
            }
        }
    }
    Ok(())
}
