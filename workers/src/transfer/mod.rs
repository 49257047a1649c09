//! Files in: products and stock from CSV.

mod chunk;
mod csv;
mod error;
mod kind;
mod products;
mod run;
mod stock;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use waybill_jobs::Registry;

pub use run::Importer;

use crate::{Services, StartError};

/// Rows written in one transaction: the statements' price is shared by then, and the locks on stock levels are held for
/// some 20 ms.
const CHUNK_ROWS: usize = 500;

/// Adds this folder's handlers.
pub fn register(registry: Registry, services: &Services) -> Result<Registry, StartError> {
    let importer = Arc::new(importer(services, CHUNK_ROWS)?);
    Ok(registry.job(move |job, context| Arc::clone(&importer).run(job, context)))
}

fn importer(services: &Services, chunk_rows: usize) -> Result<Importer, StartError> {
    let currency = services.config.checkout.currency.parse()?;
    Ok(Importer { files: services.files.clone(), currency, chunk_rows })
}
