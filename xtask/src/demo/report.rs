//! What stands on the screen at the end.

use std::time::Duration;

use crate::retail::Dataset;
use crate::system::{ADMIN_EMAIL, ADMIN_PASSWORD, System};
use crate::workspace::Workspace;

use super::checks::Check;
use super::shopping::Shopping;

const WIDTH: usize = 48;

pub fn sales(file: &str, data: &Dataset) {
    println!(
        "sales     {file}: {} invoices of {} lines, GBP {}, {} customers known by id",
        data.invoices.len(),
        data.sale_lines(),
        data.total(),
        data.customers.len()
    );
    println!(
        "          left aside of {} rows: {} of cancellations, {} without quantity or price, {} unreadable",
        data.rows, data.aside.cancellations, data.aside.not_sold, data.aside.unreadable
    );
}

pub fn checks(checks: &[Check]) {
    println!("\n{:<5} {:<WIDTH$} {:>14} {:>14}", "", "check", "expected", "found");
    for check in checks {
        let mark = if check.held { "ok" } else { "FAIL" };
        println!("{mark:<5} {:<WIDTH$} {:>14} {:>14}", check.name, check.expected, check.found);
    }
}

pub fn speed(shopping: &Shopping, shoppers: usize) {
    let accepted: Vec<f64> = shopping.purchased.iter().map(|p| p.accepted_after).collect();
    let confirmed: Vec<f64> = shopping.purchased.iter().filter_map(|p| p.order.confirmed_after()).collect();
    println!(
        "\n{} orders by {shoppers} shoppers in {:.1} s: {}",
        shopping.purchased.len(),
        shopping.took.as_secs_f64(),
        rate(shopping.purchased.len(), shopping.took)
    );
    line("until the checkout is accepted", &accepted);
    line("from acceptance to confirmation", &confirmed);
}

fn line(what: &str, times: &[f64]) {
    if let (Some(p50), Some(p95), Some(most)) =
        (percentile(times, 50), percentile(times, 95), percentile(times, 100))
    {
        println!("{what:<34} p50 {p50:>7.1} ms   p95 {p95:>7.1} ms   most {most:>7.1} ms");
    }
}

fn rate(orders: usize, took: Duration) -> String {
    let orders = u32::try_from(orders).map_or(f64::MAX, f64::from);
    format!("{:.1} orders/s", orders / took.as_secs_f64().max(0.001))
}

/// The smallest value that `percent` of all do not exceed.
fn percentile(times: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Where to look while it stays up.
pub fn addresses(workspace: &Workspace, system: &System) {
    println!("\nAPI       {}", system.api_url);
    println!("docs      {}/docs", system.api_url);
    println!("console   {}/console", system.api_url);
    println!("admin     {ADMIN_EMAIL}, password {ADMIN_PASSWORD}");
    println!("gateway   {}", system.gateway_url);
    println!("database  {}", system.database_url);
    for process in system.workers.iter().chain([&system.scheduler]) {
        println!("{:<9} http://{}/metrics", process.name, process.address);
    }
    println!("mails     {}", workspace.shown(&system.mail_folder()));
    println!("logs      {}", workspace.shown(&system.logs));
    println!("Ctrl-C ends it.");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]

    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let times = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&times, 50), Some(2.0));
        assert_eq!(percentile(&times, 95), Some(4.0));
        assert_eq!(percentile(&times, 100), Some(4.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
