//! Errors of a call. Their texts hold no secret: they go into logs, conditions and Events.

use std::fmt;
use std::time::Duration;

use crate::{Envelope, Token};

/// Longest text that is taken over from the platform.
const MAX_TEXT: usize = 300;

/// A failed call. Its display form says what failed and what the platform said; it never holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: Kind,
    /// Method and path pattern.
    pub route: String,
    /// HTTP status, if one came.
    pub status: Option<u16>,
    /// The platform's code, or our own word.
    pub code: String,
    /// The platform's sentence, or our own.
    pub message: String,
    /// The platform's id of the request.
    pub request_id: Option<String>,
    /// Whether the reply had the form of the platform's API.
    pub from_platform: bool,
}

/// Classes of failed calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was sent: no connection, no TLS session.
    Unreachable,
    /// It was sent, and no whole answer came.
    Interrupted,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// No such object.
    NotFound,
    /// 429, and when the platform expects the next request.
    RateLimited(Option<Duration>),
    /// Another 4xx: the request itself is wrong.
    Invalid,
    /// 3xx, 5xx, or a success whose body makes no sense.
    Broken,
    /// Nothing was tried: the configuration or a recorded id is wrong.
    Config,
    /// Nothing was sent: enough users were made for now; in how many seconds there is room again.
    BudgetExhausted(u32),
    /// Nothing was sent: another controller may be the leader before the call ends.
    NotLeading,
}

/// Whether the platform may have acted on a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It certainly has not.
    NotApplied,
    /// It may have: must not be repeated.
    Unknown,
}

impl Error {
    pub(super) fn config(message: &str) -> Self {
        Self::own(Kind::Config, "", "InvalidConfiguration", message)
    }

    pub(super) fn undecodable(route: &str, what: &str) -> Self {
        Self {
            status: Some(200),
            ..Self::own(Kind::Broken, route, "UnexpectedReply", what)
        }
    }

    /// It was sent, and its answer was not waited for any longer.
    pub(super) fn late(route: &str, message: &str) -> Self {
        Self::own(Kind::Interrupted, route, "NoAnswer", message)
    }

    /// The operator itself held the call back.
    pub(super) fn held(kind: Kind, route: &str, message: &str) -> Self {
        Self::own(kind, route, "HeldBack", message)
    }

    /// `reqwest`'s own text is not used: it may quote the URL and, from deeper layers, anything.
    pub(super) fn transport(route: &str, error: &reqwest::Error) -> Self {
        if error.is_connect() {
            let cause = root_cause(error);
            return Self::own(
                Kind::Unreachable,
                route,
                "Unreachable",
                &format!("no connection: {cause}"),
            );
        }
        let message = if error.is_timeout() {
            "no answer in time"
        } else {
            "the connection broke before the answer"
        };
        Self::own(Kind::Interrupted, route, "NoAnswer", message)
    }

    /// Tokens are taken out of what the platform wrote before anything is cut: one that quotes our header must not
    /// reach a status, not even in part.
    pub(super) fn refused(
        route: &str,
        status: u16,
        reset: Option<Duration>,
        body: &[u8],
        tokens: &[&Token],
    ) -> Self {
        let clean = |text: &str| {
            let redact = |text: String, token: &&Token| text.replace(token.expose(), "[token]");
            printable(&tokens.iter().fold(text.to_owned(), redact))
        };
        let envelope = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(body).ok();
        let from_platform = envelope.is_some();
        let request_id = envelope
            .as_ref()
            .and_then(|e| e.request.as_ref())
            .map(|r| clean(&r.id));
        let response = envelope.map(|e| e.response);
        let first = response.as_ref().and_then(|r| r.errors.as_ref()?.first());
        let code = first.map_or_else(|| format!("HTTP{status}"), |e| clean(&e.code));
        let message = match (first, response.as_ref().and_then(|r| r.data.as_deref())) {
            (Some(e), _) => match &e.field {
                Some(field) => clean(&format!("{} ({field})", e.message)),
                None => clean(&e.message),
            },
            (None, Some(data)) => clean(data),
            (None, None) => "the reply has no error text".to_owned(),
        };
        let kind = match status {
            429 => Kind::RateLimited(reset),
            // Without the platform's envelope it comes from something on the way, which knows nothing of users or tokens.
            _ if !from_platform => Kind::Broken,
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            404 | 410 => Kind::NotFound,
            400 if says_missing(&code, &message) => Kind::NotFound,
            // 408 and 425 come from proxies and say nothing of what the platform did.
            400..=499 if status != 408 && status != 425 => Kind::Invalid,
            _ => Kind::Broken,
        };
        Self {
            kind,
            route: route.to_owned(),
            status: Some(status),
            code,
            message,
            request_id,
            from_platform,
        }
    }

    fn own(kind: Kind, route: &str, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        Self {
            kind,
            route: route.to_owned(),
            status: None,
            code,
            message,
            request_id: None,
            from_platform: false,
        }
    }

    /// Whether the platform may have acted on the request.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match self.kind {
            Kind::Interrupted | Kind::Broken => Sent::Unknown,
            _ => Sent::NotApplied,
        }
    }

    /// Whether the error describes what listens at the endpoint, and not the answer of a platform.
    #[must_use]
    pub fn tells_of_endpoint(&self) -> bool {
        match self.kind {
            Kind::Unreachable | Kind::Interrupted => true,
            Kind::Broken => !self.from_platform,
            _ => false,
        }
    }

    /// In any of the platform's ways to say so.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Whether trying again later, with nothing changed, can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self.kind, Kind::Invalid | Kind::NotFound | Kind::Config)
    }

    /// One word for conditions, Events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.kind {
            Kind::Unreachable | Kind::Interrupted => "PlatformUnreachable",
            Kind::Unauthorized | Kind::Forbidden => "CredentialInvalid",
            Kind::RateLimited(_) => "RateLimited",
            Kind::Invalid | Kind::NotFound => "RejectedByPlatform",
            Kind::Broken => "PlatformError",
            Kind::Config => "InvalidConfiguration",
            Kind::BudgetExhausted(_) => "CreateBudgetExhausted",
            Kind::NotLeading => "NotLeading",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.route.is_empty() {
            write!(f, "{}: ", self.route)?;
        }
        write!(f, "{}", self.message)?;
        match self.status {
            Some(status) => write!(f, " [{status} {}", self.code)?,
            None => write!(f, " [{}", self.code)?,
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str("]")
    }
}

impl std::error::Error for Error {}

/// A code such as `USER_DOESNT_EXIST`, or a sentence that means it.
fn says_missing(code: &str, message: &str) -> bool {
    let code = code.to_ascii_uppercase();
    let message = message.to_ascii_lowercase();
    code.ends_with("DOESNT_EXIST") || code.ends_with("NOT_FOUND") || message.contains("does not exist")
}

/// Text from outside, fit for one line of a log.
fn printable(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect();
    if text.chars().count() > MAX_TEXT {
        out.push('…');
    }
    out
}

/// Where decoding failed and how, without what was found there.
pub(super) fn position(error: &serde_json::Error) -> String {
    format!(
        "the reply cannot be read: {:?} at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable(&cause.to_string())
}
