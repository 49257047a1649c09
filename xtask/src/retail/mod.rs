//! Real sales to try Waybill on: files of the shape of the UCI "Online Retail" data set.
//!
//! The file is read line by line; what stays in memory is what the demonstration needs, the sale
//! invoices with their lines. Prices are decimals from the text to the sum, never floats.

mod catalogue;
mod dataset;
mod line;

pub use dataset::{Dataset, Invoice, InvoiceLine};
