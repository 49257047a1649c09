//! The end of ephemeral nodes, also of those whose owner was killed before it could clean up.

use std::path::Path;

use anyhow::Result;

use super::identity;
use super::node::Node;
use crate::workspace::Workspace;

/// `.local/test-<pid>/` holds the state files of the nodes that the process started.
pub const PREFIX: &str = "test-";

/// Stops and deletes what dead owners left.
pub async fn stale(workspace: &Workspace) -> Result<()> {
    for entry in std::fs::read_dir(workspace.local()?)?.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let Ok(owner) = owner.parse::<u32>() else { continue };
        if owner == std::process::id() || identity::is_ours(owner, Path::new("xtask")) {
            continue;
        }
        run(workspace, owner).await?;
    }
    Ok(())
}

/// Stops and deletes all nodes of one run.
pub async fn run(workspace: &Workspace, owner: u32) -> Result<()> {
    let folder = workspace.local()?.join(format!("{PREFIX}{owner}"));
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(()) };
    for file in entries.flatten().map(|file| file.path()) {
        if file.extension().is_some_and(|extension| extension == "json")
            && let Ok(Some(node)) = Node::load(&file)
        {
            discard(node, &file).await?;
        }
    }
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// Ends a node that nobody needs any more, with its data and its state file.
pub async fn discard(mut node: Node, state_file: &Path) -> Result<()> {
    match &mut node {
        // In order, for it would leave its shared memory segment behind.
        Node::Postgres(cluster) => cluster.stop().await?,
        other => other.kill().await?,
    }
    node.delete()?;
    std::fs::remove_file(state_file)?;
    if let Some(folder) = state_file.parent() {
        // Fails while the other service's files are in it; the last one removes it.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}
