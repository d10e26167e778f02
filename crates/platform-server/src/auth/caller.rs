//! Callers and their credentials.

use axum::http::header;
use axum::http::request::Parts;

use super::session::SignedIn;
use crate::reply::ApiError;
use crate::secret;
use crate::store::batch::Batch;
use crate::store::callers::{self, Rights};
use crate::store::{Connection, audit, credentials, sign_in};

/// An authenticated caller, allowed or not.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: String,
    pub(crate) name: String,
    /// As the audit log has it.
    pub(crate) kind: &'static str,
    pub(crate) last_digits: Option<String>,
    /// `API` with a token, `UI` with a session.
    pub(crate) source: &'static str,
}

impl Caller {
    /// The holder, or former holder, of a token.
    pub(crate) fn by_token(owner: &credentials::Owner) -> Self {
        Self {
            id: owner.user_id.clone(),
            name: owner.user_name.clone(),
            kind: if owner.user_type == "personal" {
                "ui"
            } else {
                "programmatic"
            },
            last_digits: Some(owner.last_digits.clone()),
            source: "API",
        }
    }

    pub(crate) fn by_session(session: &sign_in::Session) -> Self {
        Self::of_person(&session.user_id, &session.user_name)
    }

    pub(crate) fn of_person(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            kind: "ui",
            last_digits: None,
            source: "UI",
        }
    }

    /// Puts the caller into an audit row.
    pub(crate) fn sign<'a>(&'a self, event: &mut audit::Event<'a>) {
        event.actor_id = Some(&self.id);
        event.actor_name = &self.name;
        event.actor_type = self.kind;
        event.token_last_digits = self.last_digits.as_deref();
        event.source = self.source;
    }
}

/// Refuses a request without a valid credential.
pub(super) const UNKNOWN: ApiError = ApiError::Unauthorized("The token is missing or not valid");

/// What a request authenticates with; looked up again when a change begins.
#[derive(Clone)]
pub(super) enum Credential {
    Token([u8; 32]),
    /// The cookie of the session on whose behalf the console calls.
    Session(String),
}

/// The current holder of a credential and its rights.
pub(super) struct Holder {
    pub(super) caller: Caller,
    pub(super) rights: Rights,
    /// The token, if the time of its last use is due to be written.
    pub(super) used: Option<i64>,
}

impl Credential {
    pub(super) fn of(request: &Parts) -> Option<Self> {
        if let Some(SignedIn(cookie)) = request.extensions.get() {
            return Some(Self::Session(cookie.clone()));
        }
        let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        bearer(value).map(|token| Self::Token(secret::digest(token)))
    }

    /// The holder of the credential; fails if it is unknown or has ended.
    pub(super) async fn holder(&self, conn: &mut Connection) -> Result<Holder, ApiError> {
        match self {
            Self::Token(hash) => {
                let (owner, rights) = callers::holder(conn, hash).await?.ok_or(UNKNOWN)?;
                Ok(Holder {
                    caller: Caller::by_token(&owner),
                    rights,
                    used: owner.token_id.filter(|_| owner.use_is_news()),
                })
            }
            Self::Session(cookie) => {
                let session = sign_in::session(&mut *conn, cookie).await?;
                let session = session.ok_or(ApiError::Unauthorized("The session has ended"))?;
                Ok(Holder {
                    rights: callers::effective(conn, &session.user_id).await?,
                    caller: Caller::by_session(&session),
                    used: None,
                })
            }
        }
    }

    /// Makes the batch fail unless the credential is still valid when it commits.
    pub(super) fn require(&self, batch: &mut Batch) {
        match self {
            Self::Token(hash) => credentials::require(batch, hash),
            Self::Session(cookie) => sign_in::require(batch, cookie),
        }
    }

    /// The former holder of a revoked token, for the audit log.
    pub(super) async fn former_holder(&self, conn: &mut Connection) -> Result<Option<Caller>, ApiError> {
        let Self::Token(hash) = self else {
            return Ok(None);
        };
        let owner = credentials::former_owner(conn, hash).await?;
        Ok(owner.as_ref().map(Caller::by_token))
    }
}

/// The token of an `Authorization` header.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
