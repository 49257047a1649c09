//! Categories and products, for everybody.

mod categories;
mod dto;
mod filter;
pub mod routes;

pub use self::{
    categories::{CategoryDto, CategoryTreeDto, tree},
    dto::{CategoryRefDto, ProductDto, ProductSummaryDto, VariantDto},
    filter::Parameters,
};
