//! What a form of ours sends.

use axum::body::to_bytes;
use axum::extract::Request;

use crate::secret;
use crate::store::sign_in::Session;

/// Fields by name; a name may come several times.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a request; one that is too long or no form is empty, and so refused by its lack of a `csrf`.
    pub(super) async fn read(request: Request, longest: usize) -> Self {
        let bytes = to_bytes(request.into_body(), longest).await.unwrap_or_default();
        let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(&bytes).into_owned().collect();
        // No keyboard sends it.
        if pairs.iter().any(|(_, value)| value.contains('\0')) {
            pairs.clear();
        }
        Self(pairs)
    }

    /// The first value of a field.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a page of this session sent it.
    pub(super) fn is_of(&self, session: &Session) -> bool {
        secret::same(self.text("csrf").as_bytes(), session.csrf.as_bytes())
    }
}
