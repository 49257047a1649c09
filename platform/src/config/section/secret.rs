//! Secrets: never shown, and given in place or, as `<key>_file`, by the name of a file that holds them.

use std::fs;

use secrecy::SecretString;
use url::Url;

use super::Section;
use crate::config::{
    layers::{Origin, Raw},
    values::{text, url_expectation},
};

impl Section<'_, '_> {
    /// A secret of at least `min` bytes.
    pub fn secret(&mut self, key: &str, min: usize) -> SecretString {
        self.required_secret(key, &length_expectation(min), |secret| secret.len() >= min)
    }

    pub fn optional_secret(&mut self, key: &str, min: usize) -> Option<SecretString> {
        self.read_secret(key, false, &length_expectation(min), |secret| secret.len() >= min)
    }

    /// A URL that may hold a password.
    pub fn secret_url(&mut self, key: &str, schemes: &[&str]) -> SecretString {
        self.required_secret(key, &url_expectation(schemes), |secret| is_url(secret, schemes))
    }

    pub fn optional_secret_url(&mut self, key: &str, schemes: &[&str]) -> Option<SecretString> {
        self.read_secret(key, false, &url_expectation(schemes), |secret| is_url(secret, schemes))
    }

    fn required_secret(&mut self, key: &str, expected: &str, valid: impl Fn(&str) -> bool) -> SecretString {
        let secret = self.read_secret(key, true, expected, valid);
        if secret.is_none() && self.reader.usable(&[&self.path(key)]) {
            self.missing(key, expected);
        }
        secret.unwrap_or_default()
    }

    /// `required` skips an empty variable for what a weaker source says; an optional secret is taken back by it.
    fn read_secret(
        &mut self,
        key: &str,
        required: bool,
        expected: &str,
        valid: impl Fn(&str) -> bool,
    ) -> Option<SecretString> {
        let path = self.path(key);
        let by_file = format!("{path}_file");
        self.reader.known.extend([path.clone(), by_file.clone()]);
        let layers = self.reader.layers;
        let strongest = |path| {
            let mut found = layers.all(path).into_iter();
            found.find(|(raw, _)| !(required && matches!(raw, Raw::Text(""))))
        };
        // The stronger source wins; in the same source the secret itself wins over the name of a file.
        let (in_place, in_file) = match (strongest(&path), strongest(&by_file)) {
            (Some(place), Some(file)) if place.1.strength() < file.1.strength() => (None, Some(file)),
            (place, file) => (place.clone(), file.filter(|_| place.is_none())),
        };
        let (secret, origin) = match (in_place, in_file) {
            (None, None) => {
                self.reader.note(&path, None, Origin::Defaults);
                return None;
            }
            (Some((Raw::Text(""), origin)), _) | (None, Some((Raw::Text(""), origin))) => {
                self.reader.note(&path, None, origin);
                return None;
            }
            (Some((raw, origin)), _) => (text(raw).ok(), origin),
            (None, Some((raw, origin))) => match fs::read_to_string(raw.shown()) {
                Ok(content) => (Some(content.trim_end_matches(['\r', '\n']).to_owned()), origin),
                Err(error) => {
                    let name = raw.shown();
                    self.reader.problem(&by_file, format!("the file {name} cannot be read: {error}"));
                    self.reader.bad.insert(path);
                    return None;
                }
            },
        };
        let secret = secret.filter(|secret| !secret.is_empty() && valid(secret));
        if secret.is_some() {
            self.reader.note(&path, Some("***".to_owned()), origin);
        } else {
            self.reader.problem(&path, format!("expected {expected}; what {origin} gives is not"));
        }
        secret.map(SecretString::from)
    }
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

fn length_expectation(min: usize) -> String {
    if min > 1 {
        format!("a secret of at least {min} bytes")
    } else {
        "a secret that is not empty".to_owned()
    }
}
