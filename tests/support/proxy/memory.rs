//! What went through the proxy of what objects looked like: never a Secret's data.

use std::collections::HashMap;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::seen::Seen;

/// Versions of objects that the API server answered with.
#[derive(Debug, Default)]
pub struct Memory {
    /// By resourceVersion, which is unique in one etcd.
    versions: HashMap<String, Value>,
    /// Whole answers about a `ProgrammaticUser`, by its name, in the order in which they were first seen.
    answers: HashMap<String, Vec<(String, Bytes)>>,
}

impl Memory {
    /// The version that a write is based on; `null` if it was never seen, as for a new object.
    #[must_use]
    pub fn before(&self, write: &Value) -> Value {
        let version = version(write);
        self.versions.get(&version).cloned().unwrap_or_default()
    }

    /// Remembers an answer with one object in it.
    pub fn keep(&mut self, seen: &Seen, body: &Bytes) {
        let kind = seen.resource.split('/').next().unwrap_or_default();
        if seen.dry_run || seen.watch || !matches!(kind, "programmaticusers" | "secrets") {
            return;
        }
        let Ok(object) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        let (version, name) = (
            version(&object),
            object["metadata"]["name"].as_str().unwrap_or_default(),
        );
        if version.is_empty() || name.is_empty() {
            return;
        }
        if kind == "secrets" {
            let meta = json!({"metadata": {"annotations": object["metadata"]["annotations"]}});
            self.versions.insert(version, meta);
            return;
        }
        let answers = self.answers.entry(name.to_owned()).or_default();
        if answers.iter().all(|(known, _)| *known != version) {
            answers.push((version.clone(), body.clone()));
        }
        self.versions.insert(version, object);
    }

    /// The last answer about this user that was another than `now`: the one that a reader would get who is behind.
    #[must_use]
    pub fn older(&self, name: &str, now: &Bytes) -> Option<Bytes> {
        let object: Value = serde_json::from_slice(now).ok()?;
        let now = version(&object);
        let answers = self.answers.get(name)?;
        let older = answers.iter().rev().find(|(version, _)| *version != now);
        older.map(|(_, body)| body.clone())
    }
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
