//! Calling Cargo from a program that Cargo started.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::process::Command;

use crate::workspace::Workspace;

/// Cargo in the root folder, without the variables that it sets for the package it runs: build
/// scripts that watch them would run anew at every change between an inner and an outer call.
pub fn command(workspace: &Workspace) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if of_package || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
    command.current_dir(workspace.root());
    command
}

/// What the manifests say about the workspace's packages.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub features: BTreeMap<String, Vec<String>>,
    pub targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

impl Metadata {
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let output = command(workspace)
            .into_std()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("starting cargo metadata")?;
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")
    }

    /// Every binary of the workspace.
    pub fn binaries(&self) -> Vec<&str> {
        let targets = self.packages.iter().flat_map(|package| &package.targets);
        targets
            .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
            .map(|target| target.name.as_str())
            .collect()
    }

    /// `package/feature` for every package that has the feature.
    pub fn with_feature(&self, feature: &str) -> Vec<String> {
        let having = self.packages.iter().filter(|package| package.features.contains_key(feature));
        having.map(|package| format!("{}/{feature}", package.name)).collect()
    }
}
