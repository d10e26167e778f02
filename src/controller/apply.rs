//! IO out: takes one step and notes its answer.

mod secrets;
mod workloads;

use std::sync::Arc;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::Error;
use super::platforms::Platform;
use super::triggers::UserRef;
use crate::api::{FINALIZER, ProgrammaticUser, ProgrammaticUserStatus};
use crate::plan::{
    self, Answer, Created, Deletion, Found, Marker, Observed, Problem, Retry, Step, is_marked,
};
use crate::platform::Token;
use crate::platform::client::{self, Sent};

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
            Step::Commit(draft) => {
                let (outcome, changed) = self.commit(o, &draft).await;
                (o.learned.committed, o.learned.changed) = (Some(outcome), changed);
            }
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
            Step::Stage { nonce, user_id } => {
                o.learned.staged = Some(self.stage(o, &nonce, &user_id).await);
            }
            Step::Publish(nonce, draft) => {
                let (outcome, changed) = self.publish(o, &nonce, &draft).await;
                (o.learned.published, o.learned.changed) = (Some(outcome), changed);
            }
            Step::Unstage(staged) => {
                let answer = self.unstage(&staged).await;
                o.learned.unstaged.insert(staged.nonce, answer);
            }
            Step::Bar(nonce) => o.learned.barred = Some(self.bar(o, &nonce).await),
            Step::Fence(fence) => o.learned.fenced = Some(self.fence(o, &fence).await),
            Step::Verify(kept) => o.learned.verified = Some(self.verify(o, &kept).await),
            Step::ListUsers => {
                let answer = self.on_platform(o, async |c| c.user_names().await).await;
                let uid = o.user.uid().unwrap_or_default();
                let shares = |listed: &Vec<_>| self.context.shares_digest(&uid, listed);
                o.learned.shared_digest = answer.as_ref().is_ok_and(shares);
                o.learned.listed = Some(answer);
            }
            Step::DeleteUser(id, marker) => {
                let answer = self.delete_user(o, &id, &marker).await;
                o.learned.deleted.insert(id, answer);
            }
            Step::DeleteSecret(own) => {
                let answer = self.delete_secret(&own).await;
                o.learned.secrets_deleted.insert(own.name, answer);
            }
            Step::DeleteOldSecret { name, nonce } => {
                let answer = self.delete_old_secret(o, &name, &nonce).await;
                o.learned.old_secrets_deleted.insert((name, nonce), answer);
            }
            Step::Release(own) => o.learned.released = Some(self.release(o, &own).await),
            Step::ReadPods(names) => o.learned.pods = Some(self.read_pods(&names).await),
            Step::Restart(restart) => {
                let answer = self.restart(&restart).await;
                o.learned.restarted.insert(restart.workload, answer);
            }
        }
        Ok(())
    }

    /// Writes the status, if it differs, and only over the version that was observed.
    pub(super) async fn write_status(
        &mut self,
        o: &mut Observed,
        status: ProgrammaticUserStatus,
    ) -> Result<(), Error> {
        let Some(status) = unwritten(self.context, o, status) else {
            return Ok(());
        };
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

    /// The client, whose calls wait for few others if a token is to die at once.
    fn client(&self, o: &Observed, platform: &Platform) -> client::Client {
        let reference = UserRef::new(&o.user.name_any()).within(&self.namespace);
        // The watch may know that it is asked for since this object was read.
        let known = || self.context.triggers.known(&reference);
        let client = platform.client().of_namespace(&self.namespace);
        if plan::is_being_revoked(&o.user) || known().is_some_and(|user| user.revoked) {
            client.ahead()
        } else {
            client
        }
    }

    async fn on_platform<T>(
        &self,
        o: &Observed,
        call: impl AsyncFnOnce(&client::Client) -> Result<T, client::Error>,
    ) -> Answer<T> {
        let (name, platform) = self.platform(o).await?;
        call(&self.client(o, &platform))
            .await
            .map_err(|e| self.context.platforms.problem(&name, &e))
    }

    async fn look_up(&self, o: &Observed, fresh: bool) -> Answer<Found> {
        let (name, platform) = self.platform(o).await?;
        platform
            .catalog(fresh)
            .await
            .map_err(|e| self.context.platforms.problem(&name, &e))
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

    async fn create(&mut self, o: &Observed, body: &crate::platform::CreateProgrammaticUser) -> Created {
        // Without a connection nothing was sent.
        let (name, platform) = match self.platform(o).await {
            Ok(found) => found,
            Err(problem) => return Created::No(problem),
        };
        self.wrote = true;
        match self
            .client(o, &platform)
            .create_programmatic_user(body, plan::purpose(o))
            .await
        {
            Ok(created) => {
                let last_digits = created.token.last_digits().to_owned();
                self.token = Some(created.token);
                Created::Yes {
                    user_id: created.id,
                    last_digits,
                }
            }
            Err(error) => {
                let problem = self.context.platforms.problem(&name, &error);
                if error.sent() == Sent::NotApplied {
                    Created::No(problem)
                } else {
                    Created::Unknown(problem)
                }
            }
        }
    }

    /// Reads the user first: what a journal or an annotation says is never enough to delete something. Nor is it enough
    /// to forget something that it is not found once: then the list has to know nothing of it either.
    async fn delete_user(&mut self, o: &Observed, id: &str, marker: &Marker) -> Answer<Deletion> {
        self.wrote = true;
        let deletion = self
            .on_platform(o, async |c| match c.user(id).await? {
                Some(details) if is_marked(&details, marker) => {
                    c.delete_user(id).await.map(|()| Some(Deletion::Gone))
                }
                Some(_) => Ok(Some(Deletion::NotOurs)),
                None => {
                    let listed = c.user_names().await?;
                    let still = listed.iter().any(|u| *u.user_id == *id);
                    Ok((!still).then_some(Deletion::Gone))
                }
            })
            .await?
            .ok_or_else(|| contradiction(id))?;
        if deletion == Deletion::NotOurs {
            tracing::warn!(
                user_id = id,
                "the journal names a user that does not carry our marker; it is left alone"
            );
        }
        Ok(deletion)
    }
}

fn contradiction(id: &str) -> Problem {
    Problem {
        reason: "PlatformError",
        message: format!(
            "the platform lists user {id} and does not find it: asked again until it is certain"
        ),
        retry: Retry::Backoff,
    }
}

/// The status as it is to be written; `None`: the object has it.
pub(super) fn unwritten(
    context: &Context,
    o: &Observed,
    mut status: ProgrammaticUserStatus,
) -> Option<ProgrammaticUserStatus> {
    if o.intact {
        plan::seal(&context.instance, &o.user, &mut status);
    }
    (o.user.status.as_ref() != Some(&status)).then_some(status)
}
