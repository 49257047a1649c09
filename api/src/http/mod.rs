//! What handlers share: bodies in, pages, money, entity tags, and the usual answers out.

mod body;
mod diagnose;
mod etag;
mod money;
mod page;
mod reply;

pub use self::{
    body::{Body, RawBody, check_content_type},
    etag::{Cached, ETag},
    money::{MoneyDto, UnitPriceDto, amount_text, decimal, price_text},
    page::{Cursor, Page, PageRequest},
    reply::{Accepted, Created, NoContent, Reply},
};
