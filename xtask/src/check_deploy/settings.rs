//! The names of the settings, as the commented defaults file gives them.

use std::collections::BTreeSet;

/// Variables of the sandbox gateway's own; see its `--help`.
const OTHERS: [&str; 2] = ["WAYBILL_CONFIG", "WAYBILL_SANDBOX_"];

pub struct Settings {
    names: BTreeSet<String>,
}

impl Settings {
    /// Settings without a default stand in the file as a comment: `# url = "…"`.
    pub fn parse(defaults: &str) -> Self {
        let mut settings = Self { names: BTreeSet::new() };
        let mut section = String::new();
        for line in defaults.lines() {
            let line = line.trim().trim_start_matches("# ");
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = name.replace('.', "__").to_ascii_uppercase() + "__";
            } else if let Some((key, _)) = line.split_once(" = ")
                && key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            {
                let name = format!("WAYBILL_{section}{}", key.to_ascii_uppercase());
                settings.names.insert(format!("{name}_FILE"));
                settings.names.insert(name);
            }
        }
        settings
    }

    pub fn knows(&self, variable: &str) -> bool {
        self.names.contains(variable)
            || !variable.starts_with("WAYBILL_")
            || OTHERS.iter().any(|other| variable.starts_with(other))
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn settings_are_known_by_their_variables() {
        let defaults = "environment = \"x\"\n[database]\n# url = \"…\"\npool_max = 16\n[payments.sandbox]\nurl = \"x\"\n";
        let settings = Settings::parse(defaults);
        for known in [
            "WAYBILL_ENVIRONMENT",
            "WAYBILL_DATABASE__URL",
            "WAYBILL_DATABASE__URL_FILE",
            "WAYBILL_PAYMENTS__SANDBOX__URL",
            "WAYBILL_SANDBOX_API_KEY",
            "POSTGRES_USER",
        ] {
            assert!(settings.knows(known), "{known}");
        }
        assert!(!settings.knows("WAYBILL_DATABASE_URL"));
        assert!(!settings.knows("WAYBILL_DATABASE__URI"));
    }
}
