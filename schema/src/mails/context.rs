//! What a mail is rendered from.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Jsonb, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{MailStatus, MailTemplate};
use crate::{
    Conn, sql,
    system::outages::{MAIL_SERVER, Standing},
};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    template: String,
    #[diesel(sql_type = Text)]
    recipient: String,
    #[diesel(sql_type = Text)]
    status: MailStatus,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    user_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    order: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    person: Option<Value>,
    #[diesel(sql_type = Nullable<Text>)]
    server: Option<Standing>,
}

/// A mail with everything its template may speak of.
#[derive(Debug, Clone)]
pub struct ToSend {
    /// What it says; an error names a template that this version does not know.
    pub template: Result<MailTemplate, String>,
    /// To whom.
    pub recipient: String,
    /// What has become of it.
    pub status: MailStatus,
    /// The user it is for, if it is for one.
    pub user_id: Option<Uuid>,
    /// The order it speaks of.
    pub order: Option<OrderContext>,
    /// The user's names.
    pub person: Option<PersonContext>,
    /// How the mail server stands to the job.
    pub server: Standing,
}

/// An order as a mail tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OrderContext {
    /// Id.
    pub id: Uuid,
    /// Number, as people see it.
    pub number: i64,
    /// The buyer's own reference.
    pub reference: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// Sum of the lines.
    pub subtotal: Decimal,
    /// What was charged.
    pub total: Decimal,
    /// Stable code of why it stands as it does.
    pub reason_code: Option<String>,
    /// The same for people.
    pub reason: Option<String>,
    /// Address, as the API takes it.
    pub shipping_address: Value,
    /// Address, as the API takes it.
    pub billing_address: Value,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// The lines in order.
    pub lines: Vec<LineContext>,
}

/// A line as a mail tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LineContext {
    /// SKU.
    pub sku: String,
    /// Product's name.
    pub name: String,
    /// Variant's title, often empty.
    pub variant_title: String,
    /// Pieces.
    pub quantity: i32,
    /// Price of one.
    pub unit_price: Decimal,
    /// Price of the line.
    pub total: Decimal,
}

/// A person as a mail addresses them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PersonContext {
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
}

/// A mail and what it speaks of, for the job that sends it, in one query; none if there is no such mail.
pub async fn to_send(conn: &mut Conn, id: Uuid, job_id: Uuid) -> QueryResult<Option<ToSend>> {
    // Amounts leave the database as text: as JSON numbers they would pass through floating point.
    let row: Option<Row> = sql(r#"select m.template, m.recipient, m.status, u.id as user_id,
               case when o.id is not null then jsonb_build_object(
                   'id', o.id, 'number', o.number, 'reference', o.reference, 'currency', o.currency::text,
                   'subtotal', o.subtotal::text, 'total', o.total::text, 'reason_code', o.reason_code,
                   'reason', o.reason, 'shipping_address', o.shipping_address,
                   'billing_address', o.billing_address, 'placed_at', o.placed_at,
                   'lines', (select coalesce(jsonb_agg(jsonb_build_object(
                                 'sku', l.sku, 'name', l.name, 'variant_title', l.variant_title,
                                 'quantity', l.quantity, 'unit_price', l.unit_price::text,
                                 'total', l.total::text) order by l.position), '[]')
                             from order_lines l where l.order_id = o.id)) end as "order",
               case when u.id is not null then jsonb_build_object(
                   'first_name', u.first_name, 'last_name', u.last_name) end as person,
               (select case when d.probe_id = $2 then 'probe' else 'down' end from dependencies d
                where d.name = $3 and d.down_since is not null) as server
           from mails m
           left join orders o on o.id = (m.context->>'order_id')::uuid
           left join users u on u.id = coalesce((m.context->>'user_id')::uuid, o.customer_id)
           where m.id = $1"#)
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(job_id)
    .bind::<Text, _>(MAIL_SERVER)
    .get_result(conn)
    .await
    .optional()?;
    row.map(|row| {
        Ok(ToSend {
            template: row.template.parse().map_err(|_| row.template),
            recipient: row.recipient,
            status: row.status,
            user_id: row.user_id,
            order: read(row.order)?,
            person: read(row.person)?,
            server: row.server.unwrap_or(Standing::Up),
        })
    })
    .transpose()
}

fn read<T: serde::de::DeserializeOwned>(value: Option<Value>) -> QueryResult<Option<T>> {
    value
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| diesel::result::Error::DeserializationError(error.into()))
}
