//! What the steps of one reconcile share.

use crate::controller::context::Context;
use crate::platform::Token;
use crate::platform::client::CreatePermit;

/// One object's work, and the token between its creation and its publication.
pub(in crate::controller) struct Executor<'a> {
    pub(super) context: &'a Context,
    pub(super) namespace: String,
    pub(super) token: Option<Token>,
    /// For one create call.
    pub(super) permit: Option<CreatePermit>,
    /// Whether anything was written.
    pub(in crate::controller) wrote: bool,
}

impl<'a> Executor<'a> {
    pub(in crate::controller) fn new(context: &'a Context, namespace: &str) -> Self {
        Self {
            context,
            namespace: namespace.to_owned(),
            token: None,
            permit: None,
            wrote: false,
        }
    }
}
