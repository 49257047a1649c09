//! The migrations are compiled in; cargo does not see by itself that they belong to this crate.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
