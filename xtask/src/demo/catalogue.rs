//! The catalogue and its stock, made from the sales and given to the import jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;

use crate::client::Client;
use crate::clock;
use crate::retail::Dataset;

/// 3,000 rows take a second or two; this is for a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Deserialize)]
pub struct Import {
    pub id: String,
    pub status: String,
    pub rows_done: u64,
    pub rows_created: u64,
    pub rows_updated: u64,
    pub rows_unchanged: u64,
    pub rows_failed: u64,
    pub error: Option<String>,
}

/// A file for the import, and what must come of it.
pub struct Feed {
    pub kind: &'static str,
    csv: Vec<u8>,
    pub rows: u64,
    /// Rows that are wrong on purpose, as they are in the data.
    pub wrong: u64,
}

/// Every stock code sold, as a product; after them those that never had a price, as they stand in the data.
pub fn products(data: &Dataset) -> Result<Feed> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["sku", "name", "price", "currency"])?;
    for product in &data.catalogue {
        csv.write_record([&product.code, &product.name, &product.price.to_string(), "GBP"])?;
    }
    for (code, name) in &data.unsold {
        csv.write_record([code, name, "", "GBP"])?;
    }
    let wrong = data.unsold.len() as u64;
    let rows = data.catalogue.len() as u64 + wrong;
    Ok(Feed { kind: "products", csv: csv.into_inner()?, rows, wrong })
}

/// As many units of each product as the sales need, and not one more: a unit that is lost or sold
/// twice shows.
pub fn stock(data: &Dataset) -> Result<Feed> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["sku", "on_hand"])?;
    for product in &data.catalogue {
        csv.write_record([&product.code, &product.sold.to_string()])?;
    }
    Ok(Feed { kind: "stock", csv: csv.into_inner()?, rows: data.catalogue.len() as u64, wrong: 0 })
}

impl Feed {
    /// Uploads it and follows the job to its end.
    pub async fn import(&self, admin: &Client, bar: &ProgressBar) -> Result<Import> {
        let file =
            Part::bytes(self.csv.clone()).file_name(format!("{}.csv", self.kind)).mime_str("text/csv")?;
        let form = Form::new().text("kind", self.kind).part("file", file);
        let request = admin.request(Method::POST, "/v1/admin/imports").multipart(form);
        let accepted = admin.send(request).await.with_context(|| format!("uploading the {}", self.kind))?;
        let started: Import = accepted.json()?;
        bar.set_length(self.rows);
        let path = format!("/v1/admin/imports/{}", started.id);
        let import = clock::until(&format!("the import of the {}", self.kind), PATIENCE, || async {
            let import: Import = admin.get(&path).await?;
            bar.set_position(import.rows_done);
            match import.status.as_str() {
                "completed" => Ok(Some(import)),
                "failed" => bail!("the import of the {} failed: {:?}", self.kind, import.error),
                _ => Ok(None),
            }
        })
        .await?;
        self.check(admin, &import).await?;
        Ok(import)
    }

    /// Every row accounted for, and the wrong ones told by number and reason.
    async fn check(&self, admin: &Client, import: &Import) -> Result<()> {
        let used = import.rows_created + import.rows_updated + import.rows_unchanged;
        ensure!(
            import.rows_done == self.rows
                && import.rows_failed == self.wrong
                && used + self.wrong == self.rows,
            "the import of the {} does not add up: {import:?} of {} rows, {} wrong",
            self.kind,
            self.rows,
            self.wrong
        );
        let request = admin.request(Method::GET, &format!("/v1/admin/imports/{}/errors", import.id));
        let told = admin.send(request).await?.body;
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for record in csv::Reader::from_reader(told.as_slice()).records() {
            *rows.entry(record?.get(0).unwrap_or_default().to_owned()).or_default() += 1;
        }
        ensure!(
            rows.len() as u64 == self.wrong,
            "{} wrong rows, but the file of errors tells of {}",
            self.wrong,
            rows.len()
        );
        Ok(())
    }
}
