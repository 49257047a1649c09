//! Writing mails and what became of them.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Bytea, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::MailTemplate;
use crate::{Conn, Email, sql};

/// A mail to be written.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Its id.
    pub id: Uuid,
    /// What it must not be sent twice for: `verify_email:<user id>:<n>`.
    pub dedupe_key: String,
    /// What it says.
    pub template: MailTemplate,
    /// To whom.
    pub recipient: Email,
    /// Whose trail it belongs to.
    pub correlation_id: Option<Uuid>,
    /// Ids the template needs (`user_id`, `order_id`); never secrets.
    pub context: Value,
}

/// A mail about an order, to the address on it.
#[derive(Debug, Clone, Copy)]
pub struct OrderMail {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub template: MailTemplate,
    /// The order.
    pub order_id: Uuid,
}

/// A mail that was not there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Fresh {
    /// The mail.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// The person it is about: an order's customer, or for a guest the order itself.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub subject_id: Option<Uuid>,
}

/// Writes mails, except those whose dedupe key is taken; returns the new ones, each of which needs a job.
pub async fn insert(conn: &mut Conn, mails: &[NewMail]) -> QueryResult<Vec<Fresh>> {
    if mails.is_empty() {
        return Ok(Vec::new());
    }
    sql("insert into mails (id, dedupe_key, template, recipient, correlation_id, context)
         select * from unnest($1, $2, $3, $4, $5, $6)
         on conflict (dedupe_key) do nothing
         returning id, correlation_id, (context ->> 'user_id')::uuid as subject_id")
    .bind::<Array<SqlUuid>, _>(mails.iter().map(|m| m.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(mails.iter().map(|m| m.dedupe_key.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(mails.iter().map(|m| m.template.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(mails.iter().map(|m| m.recipient.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(mails.iter().map(|m| m.correlation_id).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(mails.iter().map(|m| &m.context).collect::<Vec<_>>())
    .load(conn)
    .await
}

/// Writes mails about orders with dedupe key `<template>:<order id>`, to the addresses on the orders; returns the new
/// ones, each of which needs a job. An order that is not there gets none.
pub async fn insert_for_orders(conn: &mut Conn, mails: &[OrderMail]) -> QueryResult<Vec<Fresh>> {
    if mails.is_empty() {
        return Ok(Vec::new());
    }
    sql("insert into mails (id, dedupe_key, template, recipient, correlation_id, context)
         select m.id, m.template || ':' || o.id, m.template, o.email, o.id, jsonb_build_object('order_id', o.id)
         from unnest($1, $2, $3) as m(id, template, order_id)
         join orders o on o.id = m.order_id
         on conflict (dedupe_key) do nothing
         returning id, correlation_id,
             (select coalesce(o.customer_id, o.id) from orders o where o.id = correlation_id) as subject_id")
    .bind::<Array<SqlUuid>, _>(mails.iter().map(|m| m.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(mails.iter().map(|m| m.template.as_str()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(mails.iter().map(|m| m.order_id).collect::<Vec<_>>())
    .load(conn)
    .await
}

/// Records that the mail went out; `false` if that is recorded already.
pub async fn mark_sent(conn: &mut Conn, id: Uuid, message_id: &str, subject: &str) -> QueryResult<bool> {
    let updated =
        sql("update mails set status = 'sent', sent_at = now(), message_id = $2, subject = $3, error = null
         where id = $1 and status <> 'sent'")
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(message_id)
        .bind::<Text, _>(subject)
        .execute(conn)
        .await?;
    Ok(updated == 1)
}

/// Records that the mail will never go out; a mail that went out stays so.
pub async fn mark_failed(conn: &mut Conn, id: Uuid, error: &str) -> QueryResult<bool> {
    let updated = sql("update mails set status = 'failed', error = $2 where id = $1 and status = 'queued'")
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(error)
        .execute(conn)
        .await?;
    Ok(updated == 1)
}

/// Lets whoever holds the token whose SHA-256 this is prove the user's address, once, until it expires.
pub async fn insert_user_token(
    conn: &mut Conn,
    hash: &[u8],
    user_id: Uuid,
    expires_at: DateTime<Utc>,
) -> QueryResult<()> {
    sql("insert into user_tokens (hash, user_id, purpose, expires_at) values ($1, $2, 'verify_email', $3)")
        .bind::<Bytea, _>(hash)
        .bind::<SqlUuid, _>(user_id)
        .bind::<Timestamptz, _>(expires_at)
        .execute(conn)
        .await?;
    Ok(())
}
