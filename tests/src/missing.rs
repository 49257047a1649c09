//! Faults that a machine cannot make.

/// Set to anything but 0, and a fault that cannot be made is a failure.
pub const REQUIRE: &str = "WAYBILL_REQUIRE_FAULTS";

/// Says loudly that a fault was not tried, for want of what `why` names; fails where every fault has to be.
pub fn skipped(fault: &str, why: &str) -> anyhow::Result<()> {
    let required = std::env::var_os(REQUIRE).is_some_and(|value| !value.is_empty() && value != "0");
    anyhow::ensure!(!required, "{fault}: not tried: {why} ({REQUIRE} is set)");
    println!(
        "\n*** SKIPPED *** {fault}: {why}. This run says nothing about it; with {REQUIRE}=1 it fails.\n"
    );
    Ok(())
}
