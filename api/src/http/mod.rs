//! What handlers share: bodies in, pages, money, entity tags, and the usual answers out.

mod body;
mod diagnose;
mod etag;
mod if_match;
mod money;
mod names;
mod page;
mod reply;

pub use self::{
    body::{Body, RawBody, check_content_type},
    etag::{Cached, ETag},
    if_match::{IfMatch, Tagged},
    money::{MoneyDto, UnitPriceDto, amount_text, decimal, price_text},
    names::names,
    page::{Cursor, Page, PageRequest},
    reply::{Accepted, Created, NoContent, Reply},
};
