//! `waybill`: what an operator asks and does, over the API.

mod args;
mod client;
mod commands;
mod table;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    waybill_platform::install_crypto();
    let args = args::Args::parse();
    match commands::run(args).await {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waybill: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}
