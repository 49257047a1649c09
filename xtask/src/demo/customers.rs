//! The wholesaler's customers, registered over HTTP.

use std::collections::HashMap;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::client::{self, Caller, Client};
use crate::retail::Dataset;

/// Hashing a password keeps a processor busy for tens of milliseconds: more at a time would only wait.
const AT_A_TIME: usize = 8;

/// A registered customer with a session.
#[derive(Debug, Clone)]
pub struct Customer {
    pub id: Uuid,
    pub client: Client,
}

#[derive(Debug, Deserialize)]
struct Session {
    user: User,
    access_token: String,
}

#[derive(Debug, Deserialize)]
struct User {
    id: Uuid,
}

/// Customer number to customer, for everybody who buys; and how many of them were new.
pub async fn register(
    client: &Client,
    data: &Dataset,
    bar: &ProgressBar,
) -> Result<(HashMap<String, Customer>, usize)> {
    let mut buyers: Vec<_> = data.invoices.iter().filter_map(|invoice| invoice.customer.as_deref()).collect();
    buyers.sort_unstable();
    buyers.dedup();
    bar.set_length(buyers.len() as u64);
    let sessions: Vec<(String, Session, bool)> = futures::stream::iter(buyers)
        .map(|number| async move {
            let (session, new) =
                one(client, number).await.with_context(|| format!("registering customer {number}"))?;
            bar.inc(1);
            anyhow::Ok((number.to_owned(), session, new))
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let new = sessions.iter().filter(|(_, _, new)| *new).count();
    let customers = sessions
        .into_iter()
        .map(|(number, session, _)| {
            let client = client.as_caller(Caller::User(session.access_token));
            (number, Customer { id: session.user.id, client })
        })
        .collect();
    Ok((customers, new))
}

pub fn email(number: &str) -> String {
    format!("customer-{number}@retail.example")
}

async fn one(client: &Client, number: &str) -> Result<(Session, bool)> {
    let (email, password) = (email(number), format!("gifts-for-{number}"));
    let body = json!({ "email": email, "password": password, "first_name": "Customer", "last_name": number });
    match client.post("/v1/auth/register", &body).await {
        Ok(session) => Ok((session, true)),
        Err(error) if client::refusal(&error).is_some_and(|refused| refused.status == 409) => {
            let body = json!({ "email": email, "password": password });
            Ok((client.post("/v1/auth/login", &body).await?, false))
        }
        Err(error) => Err(error),
    }
}
