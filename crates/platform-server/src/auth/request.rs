//! A request that was authorized, for its handler.

use std::collections::BTreeMap;

use super::caller::{Caller, Credential};
use super::context::RequestContext;
use super::target::Target;
use crate::App;
use crate::authz::{self, Facts, Question};
use crate::reply::{Answer, ApiError};
use crate::store::batch::Batch;
use crate::store::callers::{self, Rights};
use crate::store::{Connection, Transaction, audit};

#[derive(Clone)]
pub(crate) struct AuthorizedRequest {
    pub(super) app: App,
    pub(super) context: RequestContext,
    pub(super) credential: Credential,
    pub(super) caller: Caller,
    pub(super) rights: Rights,
    pub(super) target: Target,
    /// The facts that the decision was made with.
    pub(super) facts: Facts,
}

impl AuthorizedRequest {
    /// Begins a change in the only transaction that writes, and authorizes the request again in it: a caller may hold its body
    /// back for long after the middleware has decided, and lose its rights meanwhile.
    pub(crate) async fn begin(&self) -> Result<(Self, Transaction), ApiError> {
        let mut tx = self.app.store.write().await?;
        let holder = self.credential.holder(&mut tx).await?;
        let facts = self.target.permit(&mut tx, &holder).await?;
        let call = Self {
            caller: holder.caller,
            rights: holder.rights,
            facts,
            ..self.clone()
        };
        Ok((call, tx))
    }

    /// The same for a batch: its commit fails, see [`crate::store::queue::is_overtaken`], unless the caller still has the
    /// credential and the rights that the decision was made with.
    pub(crate) fn require_unchanged(&self, batch: &mut Batch) {
        self.credential.require(batch);
        callers::require_unchanged(batch, &self.caller.id, &self.rights);
    }

    /// Adds the row of a change in an account that the body names to the audit log.
    pub(crate) async fn record_in(
        &self,
        conn: &mut Connection,
        account: &str,
        resource_id: &str,
    ) -> Result<(), sqlx::Error> {
        let mut batch = Batch::default();
        let mut event = self.event(resource_id);
        event.account_id = Some(account);
        audit::add(&mut batch, &event);
        batch.execute(conn).await
    }

    /// Adds the row of a success to the audit log, in the batch of the change: neither exists without the other.
    pub(crate) fn audit(&self, batch: &mut Batch, resource_id: &str) {
        audit::add(batch, &self.event(resource_id));
    }

    fn event<'a>(&'a self, resource_id: &'a str) -> audit::Event<'a> {
        let mut event = self.context.event();
        self.caller.sign(&mut event);
        event.action = self.target.rule.verb();
        event.resource_type = self.target.rule.resource_type;
        event.resource_id = Some(resource_id);
        event.account_id = self.target.account.as_deref();
        event.result = "success";
        event.status = 200;
        event
    }

    /// Ends a change: adds its row to the audit log and commits. The answer is for changes that answer by status alone.
    pub(crate) async fn done(&self, mut tx: Transaction, resource_id: &str) -> Result<Answer, ApiError> {
        let mut batch = Batch::default();
        self.audit(&mut batch, resource_id);
        batch.execute(&mut tx).await?;
        tx.commit().await?;
        Ok(Answer::Done)
    }

    /// Id of the console user that calls; programmatic users have neither a password nor a session.
    pub(crate) fn person(&self) -> Result<&str, ApiError> {
        if self.caller.kind != "ui" {
            let action = self.target.rule.action;
            return Err(ApiError::Forbidden(format!(
                "Only a console user may do this ({action})"
            )));
        }
        Ok(&self.caller.id)
    }

    /// The cookie of the session on whose behalf the console calls; empty for a call with a token.
    pub(crate) fn session(&self) -> &str {
        match &self.credential {
            Credential::Session(cookie) => cookie,
            Credential::Token(_) => "",
        }
    }

    /// Whether the caller has rights in an account.
    pub(crate) fn sees(&self, account: &str) -> bool {
        authz::sees(&self.rights.grants, account)
    }

    /// Whether the caller may do this request's action on one resource of the account.
    pub(crate) fn may(&self, id: &str, attributes: BTreeMap<String, String>) -> bool {
        let resource = format!("{}:{id}", self.target.rule.service());
        let account = self.target.place();
        let facts = Facts {
            attributes,
            email: self.facts.email.clone(),
        };
        let question = Question {
            action: self.target.rule.action,
            resource: &resource,
            account,
            administrator_only: false,
            facts: &facts,
        };
        authz::decide(&self.rights.grants, question).is_allowed()
    }

    /// The refusal of what [`Self::may`] does not allow.
    pub(crate) fn refusal(&self) -> ApiError {
        self.target.refusal()
    }

    /// The id in the path; empty where the route has none.
    pub(crate) fn id(&self) -> &str {
        self.target.id.as_deref().unwrap_or_default()
    }

    pub(crate) fn account(&self) -> Result<&str, ApiError> {
        self.target
            .account
            .as_deref()
            .ok_or(ApiError::Internal("the route has no account"))
    }
}
