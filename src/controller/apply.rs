//! IO out: takes one step and notes its answer.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::{Error, describe, secret_problem};
use super::platforms::{Platform, platform_problem};
use super::secret;
use crate::api::{FINALIZER, ProgrammaticUser, ProgrammaticUserStatus};
use crate::plan::{
    Answer, Committed, Created, Deletion, Found, Marker, Observed, OwnSecret, Problem, Retry, SecretDraft,
    SecretView, Step, is_marked,
};
use crate::platform::Token;
use crate::platform::client::{self, Sent};

/// No write of a Secret waits longer: there is a token in memory that is nowhere else.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// One object's work, and the token between its creation and its publication.
pub(super) struct Hand<'a> {
    context: &'a Context,
    namespace: String,
    token: Option<Token>,
    /// Whether anything was written.
    pub(super) wrote: bool,
}

impl<'a> Hand<'a> {
    pub(super) fn new(context: &'a Context, namespace: &str) -> Self {
        Self {
            context,
            namespace: namespace.to_owned(),
            token: None,
            wrote: false,
        }
    }

    /// Takes `step`; an error is one that no status can tell of.
    pub(super) async fn take(&mut self, step: Step, o: &mut Observed) -> Result<(), Error> {
        match step {
            Step::LookUp(fresh) => o.learned.catalog = Some(self.look_up(o, fresh).await),
            Step::AddFinalizer => self.set_finalizer(o, true).await?,
            Step::RemoveFinalizer => {
                self.set_finalizer(o, false).await?;
                o.learned.finalizer_removed = true;
            }
            Step::DryRun(draft) => o.learned.dry_run = Some(self.dry_run(o, &draft).await),
            Step::Journal(status, ticket) => {
                self.write_status(o, *status).await?;
                o.learned.ticket = ticket;
            }
            Step::Create(body) => o.learned.created = Some(self.create(o, &body).await),
            Step::Commit(draft) => o.learned.committed = Some(self.commit(o, &draft).await),
            Step::Compensate(id) => {
                // The token has no home: wipe it before anything else.
                self.token = None;
                o.learned.compensated = Some(self.on_platform(o, async |c| c.delete_user(&id).await).await);
            }
            Step::ReadUser(id) => {
                let answer = self.on_platform(o, async |c| c.user(&id).await).await;
                o.learned.details = Some(answer);
            }
            Step::PutPolicies(id, policies) => {
                self.wrote = true;
                o.learned.policies_put = Some(
                    self.on_platform(o, async |c| c.put_policies(&id, policies).await)
                        .await,
                );
            }
            Step::PutGroups(id, groups) => {
                self.wrote = true;
                o.learned.groups_put = Some(
                    self.on_platform(o, async |c| c.put_groups(&id, groups).await)
                        .await,
                );
            }
            Step::Verify { secret, key } => o.learned.verified = Some(self.verify(o, &secret, &key).await),
            Step::ListUsers => {
                let answer = self.on_platform(o, async |c| c.list_users().await).await;
                o.learned.listed = Some(answer);
            }
            Step::DeleteUser(id, marker) => {
                let answer = self.delete_user(o, &id, &marker).await;
                o.learned.deleted.insert(id, answer);
            }
            Step::DeleteSecret(own) => o.learned.secret_deleted = Some(self.delete_secret(&own).await),
        }
        Ok(())
    }

    /// Writes the status, if it differs, and only over the version that was observed.
    pub(super) async fn write_status(
        &mut self,
        o: &mut Observed,
        status: ProgrammaticUserStatus,
    ) -> Result<(), Error> {
        if o.user.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut user = (*o.user).clone();
        user.status = Some(status);
        let name = user.name_any();
        let written = self
            .users()
            .replace_status(&name, &PostParams::default(), &user)
            .await;
        o.user = Arc::new(written.map_err(Error::from_kube("write the status"))?);
        self.wrote = true;
        Ok(())
    }

    fn users(&self) -> Api<ProgrammaticUser> {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    async fn platform(&self, o: &Observed) -> Result<(String, Arc<Platform>), Problem> {
        let organization = o.organization.as_ref().ok_or_else(|| Problem {
            reason: "UnknownOrganization",
            message: "the Organization is gone".to_owned(),
            retry: Retry::OnChange,
        })?;
        Ok((
            organization.name_any(),
            self.context.platforms.get(organization).await?,
        ))
    }

    async fn on_platform<T>(
        &self,
        o: &Observed,
        call: impl AsyncFnOnce(&client::Client) -> Result<T, client::Error>,
    ) -> Answer<T> {
        let (name, platform) = self.platform(o).await?;
        let turn = platform.client().await;
        call(&turn).await.map_err(|e| platform_problem(&name, &e))
    }

    async fn look_up(&self, o: &Observed, fresh: bool) -> Answer<Found> {
        let (name, platform) = self.platform(o).await?;
        platform
            .catalog(fresh)
            .await
            .map_err(|e| platform_problem(&name, &e))
    }

    async fn set_finalizer(&mut self, o: &mut Observed, present: bool) -> Result<(), Error> {
        let mut finalizers = o.user.finalizers().to_vec();
        finalizers.retain(|f| f != FINALIZER);
        if present {
            finalizers.push(FINALIZER.to_owned());
        }
        // With the resourceVersion this is a compare-and-swap: nobody else's finalizer can be lost.
        let patch =
            json!({"metadata": {"resourceVersion": o.user.resource_version(), "finalizers": finalizers}});
        let written = self
            .users()
            .patch(&o.user.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await;
        self.wrote = true;
        match written {
            Ok(user) => o.user = Arc::new(user),
            // Somebody took it off by force.
            Err(kube::Error::Api(status)) if !present && status.is_not_found() => {}
            Err(error) => return Err(Error::from_kube("change the finalizers")(error)),
        }
        Ok(())
    }

    async fn dry_run(&self, o: &Observed, draft: &SecretDraft) -> Answer<()> {
        let dummy = "0".repeat(64);
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        self.put_secret(o, draft, &dummy, &params)
            .await
            .map_err(|e| secret_problem(&draft.name, "written", &e))
    }

    async fn put_secret(
        &self,
        o: &Observed,
        draft: &SecretDraft,
        token: &str,
        params: &PostParams,
    ) -> kube::Result<()> {
        let secret = secret::build(&o.user, draft, token);
        match &draft.replace {
            Some(_) => self
                .secrets()
                .replace(&draft.name, params, &secret)
                .await
                .map(drop),
            None => self.secrets().create(params, &secret).await.map(drop),
        }
    }

    async fn create(&mut self, o: &Observed, body: &crate::platform::CreateProgrammaticUser) -> Created {
        // Without a connection nothing was sent.
        let (name, platform) = match self.platform(o).await {
            Ok(found) => found,
            Err(problem) => return Created::No(problem),
        };
        let turn = platform.client().await;
        self.wrote = true;
        match turn.create_programmatic_user(body).await {
            Ok(created) => {
                let last_digits = created.token.last_digits().to_owned();
                self.token = Some(created.token);
                Created::Yes {
                    user_id: created.id,
                    last_digits,
                }
            }
            Err(error) => {
                let problem = platform_problem(&name, &error);
                if error.sent() == Sent::NotApplied {
                    Created::No(problem)
                } else {
                    Created::Unknown(problem)
                }
            }
        }
    }

    async fn commit(&self, o: &Observed, draft: &SecretDraft) -> Committed {
        let problem = |why: &str| Problem {
            reason: "SecretRejected",
            message: format!("Secret {} cannot be written: {why}", draft.name),
            retry: Retry::Backoff,
        };
        let Some(token) = &self.token else {
            return Committed::No(problem("there is no token in hand"));
        };
        let params = PostParams::default();
        let write = self.put_secret(o, draft, token.expose(), &params);
        let (refused, why) = match tokio::time::timeout(WRITE_DEADLINE, write).await {
            Ok(Ok(())) => return Committed::Yes,
            Ok(Err(error)) => {
                let refused = matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
                (refused, describe(&error))
            }
            Err(_) => (false, "no answer from the API server in time".to_owned()),
        };
        // A write may have happened although its answer says otherwise or never came: look before giving up. Only a
        // refusal together with a Secret that was seen not to carry the token is certain.
        let read = tokio::time::timeout(WRITE_DEADLINE, self.secrets().get_opt(&draft.name)).await;
        match read {
            Ok(Ok(Some(found))) if secret::carries(&found, &o.user, draft) => Committed::Yes,
            Ok(Ok(_)) if refused => Committed::No(problem(&why)),
            _ => Committed::Unknown(problem(&why)),
        }
    }

    async fn verify(&mut self, o: &Observed, name: &str, key: &str) -> Answer<bool> {
        if let Some(token) = self.token.take() {
            return self.on_platform(o, async |c| c.accepts(&token).await).await;
        }
        let found = self
            .secrets()
            .get_opt(name)
            .await
            .map_err(|e| secret_problem(name, "read", &e))?;
        // Nobody else's data is sent anywhere.
        let ours = found.filter(|s| matches!(secret::view(Some(s), &o.user), SecretView::Ours(_)));
        let data = ours.as_ref().and_then(|s| s.data.as_ref()?.get(key));
        match data
            .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
            .and_then(Token::new)
        {
            Some(token) => self.on_platform(o, async |c| c.accepts(&token).await).await,
            None => Ok(false),
        }
    }

    /// Reads the user first: what a journal or an annotation says is never enough to delete something.
    async fn delete_user(&mut self, o: &Observed, id: &str, marker: &Marker) -> Answer<Deletion> {
        self.wrote = true;
        let deletion = self
            .on_platform(o, async |c| {
                let Some(details) = c.user(id).await? else {
                    return Ok(Deletion::Gone);
                };
                if !is_marked(&details, marker) {
                    return Ok(Deletion::NotOurs);
                }
                c.delete_user(id).await.map(|()| Deletion::Gone)
            })
            .await?;
        if deletion == Deletion::NotOurs {
            tracing::warn!(
                user_id = id,
                "the journal names a user that does not carry our marker; it is left alone"
            );
        }
        Ok(deletion)
    }

    async fn delete_secret(&mut self, own: &OwnSecret) -> Answer<()> {
        self.wrote = true;
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(own.uid.clone()),
            resource_version: Some(own.resource_version.clone()),
        });
        match self.secrets().delete(&own.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(secret_problem(&own.name, "deleted", &error)),
        }
    }
}
