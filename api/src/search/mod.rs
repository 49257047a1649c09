//! Product search behind one interface.

pub mod admin;
pub mod engine;
mod postgres;
pub mod routes;

pub use self::{
    engine::{SearchEngine, SearchQuery, SearchResult},
    postgres::PostgresSearch,
};
