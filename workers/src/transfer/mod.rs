//! Files in: products and stock from CSV.

mod chunk;
mod csv;
mod cut;
mod error;
mod follow;
mod frames;
mod groups;
mod kind;
mod parts;
mod pieces;
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
    Ok(steps(registry, &importer))
}

fn steps(registry: Registry, importer: &Arc<Importer>) -> Registry {
    let [run, undo, split, part, merge, clean] = std::array::from_fn(|_| Arc::clone(importer));
    registry
        .job_with_compensation(
            move |job, context| Arc::clone(&run).run(job, context),
            move |job, context| Arc::clone(&undo).undo(job, context),
        )
        .job(move |job, context| Arc::clone(&split).split(job, context))
        .job(move |job, context| Arc::clone(&part).part(job, context))
        .job(move |job, context| Arc::clone(&merge).merge(job, context))
        .job(move |job, context| Arc::clone(&clean).clean(job, context))
}

fn importer(services: &Services, chunk_rows: usize) -> Result<Importer, StartError> {
    let currency = services.config.checkout.currency.parse()?;
    let cut_from = i64::try_from(services.config.worker.cut_imports_from).unwrap_or(i64::MAX);
    Ok(Importer { files: services.files.clone(), currency, chunk_rows, cut_from, stretch: cut::STRETCH })
}
