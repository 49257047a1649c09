//! `waybill`: what an operator asks and does, over the API.

/// `println!` that ends the program quietly when its reader has seen enough.
macro_rules! out {
    () => {
        crate::table::line(format_args!(""))
    };
    ($($part:tt)*) => {
        crate::table::line(format_args!($($part)*))
    };
}
pub(crate) use out;

mod args;
mod client;
mod commands;
mod confirm;
mod table;
mod time;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    waybill_platform::install_crypto();
    let args = args::Args::parse();
    let json = args.json;
    match commands::run(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            if json {
                eprintln!("{}", report(&error));
            } else {
                eprintln!("waybill: {error:#}");
            }
            ExitCode::from(if error.is::<confirm::NotConfirmed>() { 3 } else { 2 })
        }
    }
}

/// An error as JSON: what is said to people, and the problem that the API answered with, if it did.
fn report(error: &anyhow::Error) -> serde_json::Value {
    let problem = error.downcast_ref::<client::Refused>().map(|refused| &refused.problem);
    serde_json::json!({ "error": format!("{error:#}"), "problem": problem })
}
