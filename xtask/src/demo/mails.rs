//! The mails that were written, read from the development mail folder.

use std::path::Path;

use anyhow::{Context, Result};

/// The decoded subjects of all mails in the folder.
pub fn subjects(folder: &Path) -> Result<Vec<String>> {
    let mut subjects = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(subjects) };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let mail = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            subjects.push(subject(&String::from_utf8_lossy(&mail)));
        }
    }
    Ok(subjects)
}

/// The header's value; folded lines joined.
fn subject(mail: &str) -> String {
    let mut lines = mail.lines().take_while(|line| !line.is_empty());
    let Some(first) = lines.find_map(|line| line.strip_prefix("Subject:")) else { return String::new() };
    let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
    std::iter::once(first).chain(folded).map(str::trim).collect::<Vec<_>>().join(" ")
}

/// How many of `subjects` speak of the order: its number as a whole word.
pub fn about(subjects: &[String], number: &str) -> usize {
    let is_about =
        |subject: &&String| subject.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == number);
    subjects.iter().filter(is_about).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_found_and_unfolded() {
        let mail =
            "From: a@b\r\nSubject: Your order 100001\r\n is confirmed\r\nTo: c@d\r\n\r\nSubject: no\r\n";
        assert_eq!(subject(mail), "Your order 100001 is confirmed");
        assert_eq!(subject("To: a@b\r\n\r\nSubject: no"), "");
    }

    #[test]
    fn a_number_counts_as_a_whole_word() {
        let subjects = ["Your order 100001 is confirmed".to_owned(), "Order #1000010".to_owned()];
        assert_eq!(about(&subjects, "100001"), 1);
        assert_eq!(about(&subjects, "1000010"), 1);
        assert_eq!(about(&subjects, "10000"), 0);
    }
}
