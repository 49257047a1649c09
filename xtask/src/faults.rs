//! `cargo xtask test faults` and `cargo xtask soak`: the tests that take minutes, by the harness of the others.

use std::process::ExitCode;

use anyhow::Result;

use crate::check_tests;

/// Where they are.
const PROGRAM: &[&str] = &["--test", "faults"];

#[derive(clap::Args)]
pub struct SoakArgs {
    /// How long to go on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// Every fault once, one after the other: each has the machine to itself. More arguments choose among them.
pub async fn run(more: Vec<String>) -> Result<ExitCode> {
    let mut arguments: Vec<String> =
        ["--", "--ignored", "--nocapture", "--test-threads=1"].map(str::to_owned).into();
    arguments.extend(["--skip", "soak::"].map(str::to_owned));
    arguments.extend(more);
    check_tests::program(PROGRAM, arguments, &[]).await
}

/// Random faults under random load.
pub async fn soak(args: SoakArgs) -> Result<ExitCode> {
    let arguments = ["--", "--ignored", "--nocapture", "--exact", "soak::soak"].map(str::to_owned);
    let minutes = args.minutes.to_string();
    check_tests::program(PROGRAM, arguments.into(), &[("WAYBILL_SOAK_MINUTES", &minutes)]).await
}
