use super::{ApiError, ApiResult};

/// A field that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is: `email`, `lines[2].quantity`; a query parameter by its name.
    pub field: String,
    /// Stable code: `required`, `unknown_field`, `type`, `invalid`, `too_long`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// Collects what is wrong with a request, so that the answer names everything at once.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Nothing is wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn add(&mut self, field: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), code, message: message.into() });
    }

    /// Keeps the value, or adds the error under `field`.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        code: &'static str,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|e| self.add(field, code, e.to_string())).ok()
    }

    /// A text between `min` and `max` characters after trimming, without control characters (line breaks and tabs may
    /// stay). Answers the trimmed text, empty when it was refused.
    pub fn text(&mut self, field: &str, text: &str, min: usize, max: usize) -> String {
        let text = text.trim();
        let length = text.chars().count();
        if length < min {
            let (code, message) = if length == 0 {
                ("required", "must not be empty".to_owned())
            } else {
                ("too_short", format!("must have at least {min} characters"))
            };
            self.add(field, code, message);
        } else if length > max {
            self.add(field, "too_long", format!("must have at most {max} characters"));
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.add(field, "invalid", "must not hold control characters");
        } else {
            return text.to_owned();
        }
        String::new()
    }

    /// The same for a text that may be missing; an empty one counts as missing.
    pub fn optional_text(&mut self, field: &str, text: Option<&str>, max: usize) -> Option<String> {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        Some(self.text(field, text, 1, max))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The collected errors as one 422, or nothing.
    #[track_caller]
    pub fn check(self) -> ApiResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::validation(self.0)) }
    }

    /// A parsed value, which exists only if nothing was wrong, or the 422.
    #[track_caller]
    pub fn finish<T>(self, value: Option<T>) -> ApiResult<T> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(ApiError::validation(self.0)),
        }
    }
}
