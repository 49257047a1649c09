//! Rows and queries of search.

pub mod index;
pub mod query;
pub mod scope;
