//! Steps that read and write Secrets.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::api::{FENCE_ANNOTATION, RETAINED_LABEL, Reason};
use crate::controller::context::fresh_nonce;
use crate::controller::error::{describe, secret_problem};
use crate::controller::reconcile::execute::executor::Executor;
use crate::controller::reconcile::secret;
use crate::plan::{
    Answer, Committed, Fence, Observed, OwnSecret, Problem, Retry, SecretDraft, SecretView, Staged,
    TokenSource,
};
use crate::platform::Token;

/// No write of a Secret waits longer: there is a token in memory that may be nowhere else.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

impl Executor<'_> {
    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    pub(super) async fn dry_run(
        &self,
        o: &Observed,
        draft: &SecretDraft,
        staged: Option<&str>,
    ) -> Answer<()> {
        let dummy = "0".repeat(64);
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let secret = secret::build(&o.user, draft, &dummy).map_err(|why| rejected(&draft.name, &why))?;
        let written = self.put_secret(draft, &secret, &params).await;
        written.map_err(|e| secret_problem(&draft.name, "written", &e))?;
        let Some(nonce) = staged else { return Ok(()) };
        let secret = secret::staging(&o.user, nonce, "pu-00000000", &dummy);
        let staged = self.context.own_secrets().create(&params, &secret).await;
        // Without the nonce: a condition that shows the message is written once.
        let message = "of the staged token, in the operator's namespace,";
        staged
            .map(drop)
            .map_err(|e| secret_problem(message, "written", &e))
    }

    async fn put_secret(
        &self,
        draft: &SecretDraft,
        secret: &Secret,
        params: &PostParams,
    ) -> kube::Result<Secret> {
        match &draft.replace {
            Some(_) => self.secrets().replace(&draft.name, params, secret).await,
            None => self.secrets().create(params, secret).await,
        }
    }

    /// Writes the Secret with the token in hand; also when that was, by the API server's clock.
    pub(super) async fn commit(&self, o: &Observed, draft: &SecretDraft) -> (Committed, Option<Timestamp>) {
        let Some(token) = &self.token else {
            let why = "there is no token in hand";
            return (Committed::No(rejected(&draft.name, why)), None);
        };
        let params = PostParams::default();
        let secret = match secret::build(&o.user, draft, token.expose()) {
            Ok(secret) => secret,
            Err(why) => return (Committed::No(rejected(&draft.name, &why)), None),
        };
        let write = async {
            let written = self.put_secret(draft, &secret, &params).await?;
            let (uid, version) = (o.user.uid(), written.resource_version());
            self.context.objects.wrote(
                uid.as_deref().unwrap_or_default(),
                version.as_deref().unwrap_or_default(),
            );
            Ok(written)
        };
        let carries = |found: &Secret| secret::carries(found, &o.user, draft);
        certainly(&self.secrets(), &draft.name, write, carries).await
    }

    /// Keeps the token in hand in the operator's own namespace.
    pub(super) async fn stage(&self, o: &mut Observed, nonce: &str, user_id: &str) -> Committed {
        let name = secret::staging_name(nonce);
        let Some(token) = &self.token else {
            return Committed::No(rejected(&name, "there is no token in hand"));
        };
        let secrets = self.context.own_secrets();
        let new = secret::staging(&o.user, nonce, user_id, token.expose());
        let params = PostParams::default();
        let is_it = |found: &Secret| {
            secret::staged(found, &o.user).is_some_and(|s| s.user_id.as_deref() == Some(user_id))
        };
        let (outcome, _) = certainly(&secrets, &name, secrets.create(&params, &new), is_it).await;
        if outcome == Committed::Yes {
            // For its UID. Without it, it is found by the next reconcile.
            let found = secrets.get_opt(&name).await.ok().flatten();
            o.staged.extend(found.and_then(|s| secret::staged(&s, &o.user)));
        }
        outcome
    }

    /// Writes the Secret with a staged token.
    pub(super) async fn publish(
        &mut self,
        o: &Observed,
        nonce: &str,
        draft: &SecretDraft,
    ) -> (Committed, Option<Timestamp>) {
        if self.token.is_none() {
            match self.staged_token(o, nonce).await {
                Ok(token) => self.token = token,
                Err(problem) => return (Committed::Unknown(problem), None),
            }
        }
        self.commit(o, draft).await
    }

    async fn staged_token(&self, o: &Observed, nonce: &str) -> Answer<Option<Token>> {
        let name = secret::staging_name(nonce);
        let found = self.context.own_secrets().get_opt(&name).await;
        let found = found.map_err(|e| secret_problem(&name, "read", &e))?;
        let ours = found.filter(|s| secret::staged(s, &o.user).is_some_and(|s| s.nonce == nonce));
        Ok(ours.and_then(|s| token_of(&s, secret::STAGED_KEY)))
    }

    /// Asks the platform something with the token in hand, or else with the one that is kept.
    pub(super) async fn verify(&self, o: &Observed, kept: &TokenSource) -> Answer<bool> {
        let read;
        let token = match (&self.token, kept) {
            (Some(token), _) => Some(token),
            (None, TokenSource::Staged(nonce)) => {
                read = self.staged_token(o, nonce).await?;
                read.as_ref()
            }
            (None, TokenSource::Published { secret: name, key }) => {
                let found = self.secrets().get_opt(name).await;
                let found = found.map_err(|e| secret_problem(name, "read", &e))?;
                // No foreign Secret's data is sent anywhere.
                let ours = found.filter(|s| matches!(secret::view(Some(s), &o.user), SecretView::Ours(_)));
                read = ours.and_then(|s| token_of(&s, key));
                read.as_ref()
            }
        };
        match token {
            Some(token) => self.on_platform(o, async |c| c.accepts(token).await).await,
            None => Ok(false),
        }
    }

    pub(super) async fn unstage(&mut self, staged: &Staged) -> Answer<()> {
        self.wrote = true;
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(staged.uid.clone()),
            resource_version: None,
        });
        let deleted = self.context.own_secrets().delete(&staged.name, &params).await;
        gone(&staged.name, deleted)
    }

    /// Puts a Secret without a token where one would be staged. If one is there already, the next reconcile sees it.
    pub(super) async fn bar(&mut self, o: &Observed, nonce: &str) -> Answer<()> {
        self.wrote = true;
        let new = secret::bar(&o.user, nonce);
        let written = self
            .context
            .own_secrets()
            .create(&PostParams::default(), &new)
            .await;
        written
            .map(drop)
            .map_err(|e| secret_problem(&secret::staging_name(nonce), "put in place of a staged token", &e))
    }

    /// Changes the Secret, or makes one, so that a write on its way fails.
    pub(super) async fn fence(&mut self, o: &mut Observed, fence: &Fence) -> Answer<()> {
        self.wrote = true;
        let secrets = self.secrets();
        let written = if let Some(version) = &fence.over {
            let metadata = json!({
                "resourceVersion": version, "annotations": {FENCE_ANNOTATION: fresh_nonce()},
            });
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            secrets.patch(&fence.name, &PatchParams::default(), &patch).await
        } else {
            let new = secret::fence(&o.user, fence);
            secrets.create(&PostParams::default(), &new).await
        };
        let written = written.map_err(|e| secret_problem(&fence.name, "fenced", &e))?;
        let view = secret::view(Some(&written), &o.user);
        if o.current_secret == o.next_secret {
            o.current_secret = view.clone();
        }
        o.next_secret = view;
        Ok(())
    }

    pub(super) async fn delete_secret(&mut self, own: &OwnSecret) -> Answer<()> {
        self.wrote = true;
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(own.uid.clone()),
            resource_version: Some(own.resource_version.clone()),
        });
        gone(&own.name, self.secrets().delete(&own.name, &params).await)
    }

    pub(super) async fn delete_old_secret(&mut self, o: &Observed, name: &str, nonce: &str) -> Answer<()> {
        let found = self.secrets().get_opt(name).await;
        let found = found.map_err(|e| secret_problem(name, "read", &e))?;
        match secret::view(found.as_ref(), &o.user) {
            SecretView::Ours(own) if own.nonce.as_deref() == Some(nonce) => self.delete_secret(&own).await,
            // Gone, or in use for something else.
            _ => Ok(()),
        }
    }

    /// Takes the owner off, so that the Secret stays when the object goes.
    pub(super) async fn release(&mut self, o: &Observed, own: &OwnSecret) -> Answer<()> {
        self.wrote = true;
        let metadata = json!({
            "resourceVersion": own.resource_version,
            "ownerReferences": [{"$patch": "delete", "uid": o.user.uid()}],
            "labels": {RETAINED_LABEL: "true"},
        });
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        let written = self
            .secrets()
            .patch(&own.name, &PatchParams::default(), &patch)
            .await;
        written
            .map(drop)
            .map_err(|e| secret_problem(&own.name, "released", &e))
    }
}

/// The outcome of a write of a token.
///
/// A write may have happened although its answer says otherwise or never came: read it before giving up. Only a refusal
/// together with a Secret that was seen not to carry the token is certain.
async fn certainly(
    secrets: &Api<Secret>,
    name: &str,
    write: impl Future<Output = kube::Result<Secret>>,
    carries: impl FnOnce(&Secret) -> bool,
) -> (Committed, Option<Timestamp>) {
    let (refused, why) = match tokio::time::timeout(WRITE_DEADLINE, write).await {
        Ok(Ok(written)) => return (Committed::Yes, secret::written(&written.metadata)),
        Ok(Err(error)) => {
            let refused = matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
            (refused, describe(&error))
        }
        Err(_) => (false, "no answer from the API server in time".to_owned()),
    };
    match tokio::time::timeout(WRITE_DEADLINE, secrets.get_opt(name)).await {
        Ok(Ok(Some(found))) if carries(&found) => (Committed::Yes, secret::written(&found.metadata)),
        Ok(Ok(_)) if refused => (Committed::No(rejected(name, &why)), None),
        _ => (Committed::Unknown(rejected(name, &why)), None),
    }
}

fn rejected(name: &str, why: &str) -> Problem {
    Problem {
        reason: Reason::SecretRejected,
        message: format!("Secret {name} cannot be written: {why}"),
        retry: Retry::Backoff,
    }
}

fn gone<T>(name: &str, deleted: kube::Result<T>) -> Answer<()> {
    match deleted {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(secret_problem(name, "deleted", &error)),
    }
}

fn token_of(secret: &Secret, key: &str) -> Option<Token> {
    let bytes = secret.data.as_ref()?.get(key)?;
    Token::new(std::str::from_utf8(&bytes.0).ok()?)
}
