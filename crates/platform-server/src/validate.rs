//! Reads request bodies and says everything that is wrong with them at once, in the words of the real service.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::reply::ApiError;
use super::secret::Password;
use platform_api::ErrorItem;

const LONGEST_NAME: usize = 255;
const LONGEST_TEXT: usize = 4096;
/// RFC 5321, by way of its longest path.
const LONGEST_EMAIL: usize = 254;
/// PostgreSQL cannot store it, and no honest text has it.
pub(super) const NUL: &str = "may not contain the character NUL";

#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ErrorItem>);

impl Problems {
    /// Notes a fault of a field: `"name" is required`.
    pub(super) fn add(&mut self, field: &str, what: &str) {
        let message = format!("\"{field}\" {what}");
        self.0.push(ErrorItem {
            code: "ValidationError".into(),
            message,
            field: Some(field.to_owned()),
        });
    }

    pub(super) fn check(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }
}

/// One fault by itself.
pub(super) fn invalid(field: &str, what: &str) -> ApiError {
    let mut problems = Problems::default();
    problems.add(field, what);
    ApiError::Invalid(problems.0)
}

/// Says what is wrong with an e-mail address. In ASCII, so that all databases compare upper and lower case alike;
/// no longer than one can be.
pub(super) fn check_email(email: &str) -> Result<(), &'static str> {
    let has_parts = email
        .split_once('@')
        .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    if !has_parts || !email.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be a valid email, in ASCII");
    }
    if email.len() > LONGEST_EMAIL {
        return Err("length must be less than or equal to 254 characters long");
    }
    Ok(())
}

/// A JSON object and its path in the body. Fields that no route reads are ignored, `null` is absence.
#[derive(Debug)]
pub(super) struct Object {
    map: Map<String, Value>,
    path: String,
}

impl Object {
    /// The body itself, whatever its content type says.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self {
                map,
                path: String::new(),
            }),
            Ok(_) => Err(invalid("body", "must be an object")),
            Err(_) => Err(invalid("body", "must be valid JSON")),
        }
    }

    /// Reads a body: what `read` makes of it, or all its problems.
    pub(super) fn read<T>(body: &[u8], read: impl FnOnce(&Self, &mut Problems) -> T) -> Result<T, ApiError> {
        let mut problems = Problems::default();
        let value = read(&Self::parse(body)?, &mut problems);
        problems.check()?;
        Ok(value)
    }

    pub(super) fn path(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|v| !v.is_null())
    }

    /// Notes a field that is missing, of those that may be empty but not left out.
    pub(super) fn require(&self, field: &str, problems: &mut Problems) {
        if !self.has(field) {
            problems.add(&self.path(field), "is required");
        }
    }

    /// The same where a body without any field stands for an empty one: one SDK leaves out what is empty. What is
    /// misspelled must not take everything away.
    pub(super) fn require_unless_empty(&self, field: &str, problems: &mut Problems) {
        if !self.map.is_empty() {
            self.require(field, problems);
        }
    }

    /// Notes every field that has no meaning here. Rights are not given by what is left when something is passed over: that
    /// could have been what narrows them.
    pub(super) fn only(&self, fields: &[&str], problems: &mut Problems) {
        for name in self.map.keys().filter(|name| !fields.contains(&name.as_str())) {
            problems.add(&self.path(name), "is not allowed");
        }
    }

    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    /// Text that may be left out.
    pub(super) fn text(&self, field: &str, problems: &mut Problems) -> Option<String> {
        match self.value(field)? {
            Value::String(s) if s.chars().count() > LONGEST_TEXT => {
                problems.add(
                    &self.path(field),
                    "length must be less than or equal to 4096 characters long",
                );
                None
            }
            Value::String(s) if s.contains('\0') => {
                problems.add(&self.path(field), NUL);
                None
            }
            Value::String(s) => Some(s.clone()),
            _ => {
                problems.add(&self.path(field), "must be a string");
                None
            }
        }
    }

    /// Text that must be there. Empty after a fault, which the caller's `check` turns into a refusal.
    pub(super) fn required(&self, field: &str, problems: &mut Problems) -> String {
        if !self.has(field) {
            self.require(field, problems);
            return String::new();
        }
        let text = self.text(field, problems);
        if text.as_ref().is_some_and(|t| t.trim().is_empty()) {
            problems.add(&self.path(field), "is not allowed to be empty");
        }
        text.unwrap_or_default()
    }

    /// A new password.
    pub(super) fn password(&self, field: &str, problems: &mut Problems) -> Password {
        let password = Password::new(self.required(field, problems));
        if !(8..=128).contains(&password.expose().chars().count()) {
            problems.add(&self.path(field), "length must be between 8 and 128 characters");
        }
        password
    }

    pub(super) fn email(&self, field: &str, problems: &mut Problems) -> String {
        let email = self.required(field, problems).trim().to_owned();
        if !email.is_empty()
            && let Err(what) = check_email(&email)
        {
            problems.add(&self.path(field), what);
        }
        email
    }

    pub(super) fn name(&self, field: &str, problems: &mut Problems) -> String {
        let name = self.required(field, problems);
        if name.contains(['+', '=', '@']) {
            problems.add(&self.path(field), "may not contain any of + = @");
        }
        if name.contains(char::is_control) {
            problems.add(&self.path(field), "may not contain control characters");
        }
        if name.chars().count() > LONGEST_NAME {
            problems.add(
                &self.path(field),
                "length must be less than or equal to 255 characters long",
            );
        }
        name
    }

    /// An inner object that must be there; an empty one after a fault.
    pub(super) fn object(&self, field: &str, problems: &mut Problems) -> Self {
        let path = self.path(field);
        let map = match self.value(field) {
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                problems.add(&path, "must be an object");
                Map::new()
            }
            None => {
                problems.add(&path, "is required");
                Map::new()
            }
        };
        Self { map, path }
    }

    /// A list of objects; empty if left out.
    pub(super) fn objects(&self, field: &str, problems: &mut Problems) -> Vec<Self> {
        let mut found = Vec::new();
        for (index, value) in self.array(field, problems).iter().enumerate() {
            let path = self.path(&format!("{field}.{index}"));
            match value {
                Value::Object(map) => found.push(Self {
                    map: map.clone(),
                    path,
                }),
                _ => problems.add(&path, "must be an object"),
            }
        }
        found
    }

    /// A list of non-empty texts, each once; empty if left out.
    pub(super) fn texts(&self, field: &str, problems: &mut Problems) -> Vec<String> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for (index, value) in self.array(field, problems).iter().enumerate() {
            let path = self.path(&format!("{field}.{index}"));
            match value {
                Value::String(s) if s.is_empty() => problems.add(&path, "is not allowed to be empty"),
                Value::String(s) if s.contains('\0') => problems.add(&path, NUL),
                Value::String(s) if !seen.insert(s) => {}
                Value::String(s) => found.push(s.clone()),
                _ => problems.add(&path, "must be a string"),
            }
        }
        found
    }

    fn array(&self, field: &str, problems: &mut Problems) -> &[Value] {
        match self.value(field) {
            Some(Value::Array(items)) => items,
            Some(_) => {
                problems.add(&self.path(field), "must be an array");
                &[]
            }
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Object, Problems};

    /// Each text compared with all before it would take minutes here.
    #[test]
    fn a_long_list_of_texts_is_read_at_once() {
        let texts: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let twice = [texts.clone(), texts.clone()].concat();
        let body = serde_json::json!({"userIds": twice}).to_string();
        let body = Object::parse(body.as_bytes()).unwrap();
        let begun = Instant::now();
        assert_eq!(body.texts("userIds", &mut Problems::default()), texts);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
