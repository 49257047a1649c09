//! Asking before many jobs are changed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Nobody said yes.
#[derive(Debug)]
pub struct NotConfirmed(pub String);

impl std::fmt::Display for NotConfirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotConfirmed {}

/// Asks on the terminal; without one, only `--yes` will do.
pub fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() {
        let message = format!("{question} There is no terminal to ask on: pass --yes.");
        return Err(NotConfirmed(message).into());
    }
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(NotConfirmed("nothing was changed".to_owned()).into())
    }
}
