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
    match commands::run(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waybill: {error:#}");
            ExitCode::from(if error.is::<confirm::NotConfirmed>() { 3 } else { 2 })
        }
    }
}
