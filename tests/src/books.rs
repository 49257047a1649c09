//! Whether the books are right: ours, and the gateway's.

use std::time::Duration;

use anyhow::ensure;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{System, until};

impl System {
    /// Waits until nothing is left to do, then demands that every invariant holds and that our money is the gateway's.
    pub async fn at_rest(&self) -> anyhow::Result<Value> {
        let checks = until("the system to come to rest", async || {
            let checks = self.admin.read("/v1/admin/system/checks").await?;
            let hold = |check: &Value| check["ok"] == true;
            let all = checks["checks"].as_array().is_some_and(|all| all.iter().all(hold));
            Ok(if all { Ok(checks) } else { Err(format!("{checks}")) })
        })
        .await
        .map_err(|error| error.context(self.logs()))?;
        let gateway = self.gateway_summary().await?;
        ensure!(gateway["double_captures"] == 0, "captured twice: {gateway}");
        ensure!(
            money(&gateway["captured"]) - money(&gateway["refunded"]) == self.money_taken().await?,
            "the gateway's books say {gateway}"
        );
        Ok(checks)
    }

    /// The gateway's own sums.
    pub async fn gateway_summary(&self) -> anyhow::Result<Value> {
        let client = waybill_platform::http::client(Duration::from_secs(10))?;
        let url = format!("{}/v1/ledger/summary", self.gateway.url());
        let answer = client.get(url).bearer_auth("sk_test_gateway").send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The sum of all confirmed orders.
    pub async fn money_taken(&self) -> anyhow::Result<Decimal> {
        let mut sum = Decimal::ZERO;
        let mut cursor = String::new();
        loop {
            let page =
                self.admin.read(&format!("/v1/admin/orders?status=confirmed&limit=100{cursor}")).await?;
            for order in page["data"].as_array().into_iter().flatten() {
                sum += order["total"]["amount"].as_str().unwrap_or_default().parse::<Decimal>()?;
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(sum),
            }
        }
    }
}

/// Pounds of a sum by currency; zero for none.
fn money(sums: &Value) -> Decimal {
    sums["GBP"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}
