//! The command line against itself, and against what the documents say of it.

use clap::{Command as Cli, CommandFactory as _};

use super::Args;

const DOCUMENTS: [(&str, &str); 2] = [
    ("README.md", include_str!("../../../README.md")),
    ("docs/operating.md", include_str!("../../../docs/operating.md")),
];

/// The words of a line as a shell splits it, up to a comment or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars().chain([' ']) {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => {
                if matches!(word.as_str(), "#" | ">") {
                    break;
                }
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    words
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let mut commands = 0;
    for (document, text) in DOCUMENTS {
        let blocks = text.split("```").skip(1).step_by(2);
        for line in blocks.flat_map(str::lines).filter(|line| line.starts_with("waybill ")) {
            commands += 1;
            if let Err(error) = Args::command().try_get_matches_from(words(line)) {
                panic!("{document}: {line}: {error}");
            }
        }
    }
    assert!(commands > 40, "{commands} commands in the documents");
}

#[test]
fn every_command_and_every_argument_has_its_help() {
    fn check(cli: &Cli, path: &str) {
        let path = format!("{path} {}", cli.get_name());
        assert!(cli.get_about().is_some_and(|text| !text.to_string().is_empty()), "{path} has no help");
        for argument in cli.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        // The help of a flattened group of arguments must not stand where the command's own belongs.
        let about = cli.get_about().map(ToString::to_string).unwrap_or_default();
        for group in ["Which", "How", "What jobs and dead"] {
            assert!(
                !about.starts_with(group) || path == " waybill status" || path == " waybill jobs",
                "{path}: {about}"
            );
        }
        cli.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(|sub| check(sub, &path));
    }
    let mut cli = Args::command();
    cli.build();
    cli.clone().debug_assert();
    check(&cli, "");
}
