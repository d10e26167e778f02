//! Observation of calls, for metrics.

use std::time::Duration;

use super::error::{Error, Kind};

/// Receives each call and each wait; must not block.
pub trait Observer: Send + Sync {
    /// A call was sent, to a route without ids in it, and ended after `took`. `outcome` is `Ok`, `NotFound`, or the
    /// error's [`Error::reason`].
    fn called(&self, route: &str, outcome: &'static str, took: Duration);
    /// A call waited for its turn.
    fn waited(&self, span: Duration);
    /// A call was not sent; the error's [`Error::reason`].
    fn rejected_locally(&self, reason: &'static str);
}

/// Observes nothing.
impl Observer for () {
    fn called(&self, _: &str, _: &'static str, _: Duration) {}
    fn waited(&self, _: Duration) {}
    fn rejected_locally(&self, _: &'static str) {}
}

/// One word for how a call ended.
pub(super) fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "Ok",
        // What is gone already is no fault of a call that deletes it.
        Err(error) if error.kind == Kind::NotFound => "NotFound",
        Err(error) => error.reason(),
    }
}
