//! The session of the console: its cookie, and the calls that the console makes on its behalf.

use axum::http::{HeaderMap, header};

use crate::App;

pub(crate) const COOKIE: &str = "session";

/// The session cookie on whose behalf the console calls, as an extension: no request from outside can carry it. The session
/// may have ended before the body of the request was there.
#[derive(Clone)]
pub(crate) struct SignedIn(pub(crate) String);

/// The cookie of a console session, if the request has one.
pub(crate) fn session_cookie(app: &App, headers: &HeaderMap) -> Option<String> {
    cookie(app, headers, COOKIE)
}

/// The name under which a browser has a cookie. What begins with `__Host-` it takes from this host alone, by TLS.
pub(crate) fn cookie_name(app: &App, name: &str) -> String {
    let prefix = if app.secure_cookies { "__Host-" } else { "" };
    format!("{prefix}{name}")
}

pub(crate) fn cookie(app: &App, headers: &HeaderMap, name: &str) -> Option<String> {
    let name = cookie_name(app, name);
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
