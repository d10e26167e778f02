//! IO out: takes one step and notes its answer.

mod secrets;
mod workloads;

use std::sync::Arc;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tracing::Instrument as _;

use crate::api::{FINALIZER, ProgrammaticUserStatus, Reason};
use crate::controller::context::Context;
use crate::controller::error::{Error, secret_problem};
use crate::controller::organizations::connections::Connection;
use crate::controller::organizations::{classes, retained};
use crate::controller::schedule::triggers::UserRef;
use crate::controller::watch::readable::{Readable, is_unreadable};
use crate::plan;
use crate::plan::{Answer, Created, Deletion, Found, Marker, Observed, Problem, Retry, Step, is_marked};
use crate::platform::client::{CreatePermit, Purpose, Sent};
use crate::platform::{CreateProgrammaticUser, Token, client};

/// One object's work, and the token between its creation and its publication.
pub(in crate::controller) struct Executor<'a> {
    context: &'a Context,
    namespace: String,
    token: Option<Token>,
    /// For one create call.
    permit: Option<CreatePermit>,
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

    /// Gives back the permit of a call that is not made after all, before anything is written about it.
    pub(in crate::controller) fn give_back_permit(&mut self) {
        self.permit = None;
    }

    /// Takes `step`; an error is one that no status can tell of. An API server that answers late does not hold up the calls of others: what
    /// stands between a permit and its call ends with the permit, like a crash there.
    pub(in crate::controller) async fn execute(&mut self, step: Step, o: &mut Observed) -> Result<(), Error> {
        let span = tracing::debug_span!("step", step = step.name());
        let ends = self.permit.as_ref().map(CreatePermit::ends);
        match ends.filter(|_| !matches!(step, Step::Create(_))) {
            Some(ends) => {
                let taken = tokio::time::timeout_at(ends.into(), self.take(step, o).instrument(span)).await;
                taken.unwrap_or(Err(Error::PermitEnded))
            }
            None => self.take(step, o).instrument(span).await,
        }
    }

    async fn take(&mut self, step: Step, o: &mut Observed) -> Result<(), Error> {
        match step {
            Step::Reserve(purpose) => o.answers.reserved = Some((purpose, self.reserve(o, purpose).await)),
            Step::LookUp(fresh) => o.answers.catalog = Some(self.look_up(o, fresh).await),
            Step::AddFinalizer => self.set_finalizer(o, true).await?,
            Step::RemoveFinalizer => {
                self.set_finalizer(o, false).await?;
                o.answers.finalizer_removed = true;
            }
            Step::HoldClass => self.hold_class(o).await?,
            Step::DryRun(draft, staged) => {
                o.answers.dry_run = Some(self.dry_run(o, &draft, staged.as_deref()).await);
            }
            Step::Journal(status, begun) => {
                self.write_status(o, *status).await?;
                o.answers.begun_attempt = begun;
            }
            Step::Create(body) => o.answers.created = Some(self.create(o, &body).await),
            Step::Commit(draft) => {
                let (outcome, changed) = self.commit(o, &draft).await;
                (o.answers.committed, o.answers.changed) = (Some(outcome), changed);
            }
            Step::Compensate(id) => {
                // The token has no home: wipe it before anything else.
                self.token = None;
                o.answers.compensated = Some(self.on_platform(o, async |c| c.delete_user(&id).await).await);
            }
            Step::ReadUser(id) => {
                let answer = self.on_platform(o, async |c| c.user(&id).await).await;
                o.answers.details.insert(id, answer);
            }
            Step::PutPolicies(id, policies) => {
                self.wrote = true;
                let answer = self
                    .on_platform(o, async |c| c.put_policies(&id, policies).await)
                    .await;
                o.answers.policies_put.insert(id, answer);
            }
            Step::PutGroups(id, groups) => {
                self.wrote = true;
                let answer = self
                    .on_platform(o, async |c| c.put_groups(&id, groups).await)
                    .await;
                o.answers.groups_put.insert(id, answer);
            }
            Step::Stage { nonce, user_id } => {
                o.answers.staged = Some(self.stage(o, &nonce, &user_id).await);
            }
            Step::Publish(nonce, draft) => {
                let (outcome, changed) = self.publish(o, &nonce, &draft).await;
                (o.answers.published, o.answers.changed) = (Some(outcome), changed);
            }
            Step::Unstage(staged) => {
                let answer = self.unstage(&staged).await;
                o.answers.unstaged.insert(staged.nonce, answer);
            }
            Step::Tombstone(nonce) => o.answers.tombstoned = Some(self.bar(o, &nonce).await),
            Step::Fence(fence) => o.answers.fenced = Some(self.fence(o, &fence).await),
            Step::Verify(token) => {
                let answer = self.verify(o, &token).await;
                o.answers.verified.insert(token, answer);
            }
            Step::ListUsers => {
                let answer = self.on_platform(o, async |c| c.user_names().await).await;
                let uid = o.user.uid().unwrap_or_default();
                let shares = |listed: &Vec<_>| self.context.shares_digest(&uid, listed);
                o.answers.shared_digest = answer.as_ref().is_ok_and(shares);
                o.answers.listed = Some(answer);
            }
            Step::DeleteUser(id, marker) => {
                let answer = self.delete_user(o, &id, &marker).await;
                o.answers.deleted.insert(id, answer);
            }
            Step::DeleteSecret(own) => {
                let answer = self.delete_secret(&own).await;
                o.answers.secrets_deleted.insert(own.name, answer);
            }
            Step::DeleteOldSecret { name, nonce } => {
                let answer = self.delete_old_secret(o, &name, &nonce).await;
                o.answers.old_secrets_deleted.insert((name, nonce), answer);
            }
            Step::Record(user) => {
                self.wrote = true;
                let written = retained::record(self.context, &user).await;
                o.answers.recorded =
                    Some(written.map_err(|e| secret_problem("of the record", "written", &e)));
            }
            Step::Release(own) => o.answers.released = Some(self.release(o, &own).await),
            Step::ReadPods(names) => o.answers.pods = Some(self.read_pods(&names).await),
            Step::Restart(restart) => {
                let answer = self.restart(&restart).await;
                o.answers.restarted.insert(restart.workload, answer);
            }
        }
        Ok(())
    }

    /// Writes the status, if it differs, and only over the version that was observed.
    pub(in crate::controller) async fn write_status(
        &mut self,
        o: &mut Observed,
        status: ProgrammaticUserStatus,
    ) -> Result<(), Error> {
        let Some(status) = changed_status(self.context, o, status) else {
            return Ok(());
        };
        let name = o.user.name_any();
        let written = if is_unreadable(&status) {
            self.write_conditions(o, &name, &status).await
        } else {
            let mut user = (*o.user).clone();
            user.status = Some(status);
            // The API server keeps its own spec, whatever could not be read of it here.
            let user = Readable {
                user,
                unreadable: None,
            };
            self.users()
                .replace_status(&name, &PostParams::default(), &user)
                .await
        };
        replace_object(o, written.map_err(Error::from_kube("write the status"))?);
        self.wrote = true;
        Ok(())
    }

    /// Of a status that cannot be read: the rest must not be written over.
    async fn write_conditions(
        &self,
        o: &Observed,
        name: &str,
        status: &ProgrammaticUserStatus,
    ) -> kube::Result<Readable> {
        let kind = ApiResource::erase::<Readable>(&());
        let client = self.context.client.clone();
        let users: Api<DynamicObject> = Api::namespaced_with(client, &self.namespace, &kind);
        let mut object = users.get(name).await?;
        // A compare-and-swap with what was observed.
        object.metadata.resource_version = o.user.resource_version();
        object.data["status"]["observedGeneration"] = json!(status.observed_generation);
        object.data["status"]["conditions"] = json!(status.conditions);
        let written = users
            .replace_status(name, &PostParams::default(), &object)
            .await?;
        let written = serde_json::to_value(&written).and_then(serde_json::from_value);
        written.map_err(kube::Error::SerdeError)
    }

    fn users(&self) -> Api<Readable> {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    async fn platform(&self, o: &Observed) -> Result<(String, Arc<Connection>), Problem> {
        let organization = o.organization.as_ref().ok_or_else(|| Problem {
            reason: Reason::UnknownOrganization,
            message: "the Organization is gone".to_owned(),
            retry: Retry::OnChange,
        })?;
        Ok((
            organization.name_any(),
            self.context.platforms.get(organization).await?,
        ))
    }

    /// The client, whose calls wait for few others if a token is to die at once.
    fn client(&self, o: &Observed, platform: &Connection) -> client::Client {
        let reference = UserRef::new(&o.user.name_any()).within(&self.namespace);
        // The watch may know that it is asked for since this object was read.
        let known = || self.context.triggers.known(&reference);
        let client = platform.client().of_namespace(&self.namespace);
        if plan::is_being_revoked(&o.user) || known().is_some_and(|user| user.revoked) {
            client.with_high_priority()
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
        // With the resourceVersion this is a compare-and-swap: no finalizer of another controller can be lost.
        let patch =
            json!({"metadata": {"resourceVersion": o.user.resource_version(), "finalizers": finalizers}});
        let written = self
            .users()
            .patch(&o.user.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await;
        self.wrote = true;
        match written {
            Ok(user) => replace_object(o, user),
            // The finalizer was removed by force.
            Err(kube::Error::Api(status)) if !present && status.is_not_found() => {}
            Err(error) => return Err(Error::from_kube("change the finalizers")(error)),
        }
        Ok(())
    }

    /// Without a class of that name, nothing may be made.
    async fn hold_class(&mut self, o: &mut Observed) -> Result<(), Error> {
        if let Some(class) = &o.class {
            let held = classes::set_finalizer(self.context, class, true).await?;
            o.class = held.map(Arc::new);
            self.wrote = true;
        }
        Ok(())
    }

    async fn reserve(&mut self, o: &Observed, purpose: Purpose) -> Answer<()> {
        let reserved = self
            .on_platform(o, async |c| c.reserve_create(purpose).await)
            .await;
        self.permit = Some(reserved?);
        Ok(())
    }

    async fn create(&mut self, o: &Observed, body: &CreateProgrammaticUser) -> Created {
        // Without a connection nothing was sent.
        let (name, platform) = match self.platform(o).await {
            Ok(found) => found,
            Err(problem) => return Created::No(problem),
        };
        // The plan asks for no call without a permit. (The model's mutant `NoPermit`.)
        let Some(permit) = self.permit.take() else {
            return Created::No(without_permit());
        };
        self.wrote = true;
        match self
            .client(o, &platform)
            .create_programmatic_user(body, permit)
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

/// The object as the API server has it after a write.
fn replace_object(o: &mut Observed, object: Readable) {
    o.user = Arc::new(object.user);
    o.unreadable = object.unreadable;
}

fn without_permit() -> Problem {
    Problem {
        reason: Reason::InternalError,
        message: "the operator was about to create a user without a permit, and did not: please report it"
            .to_owned(),
        retry: Retry::Backoff,
    }
}

fn contradiction(id: &str) -> Problem {
    Problem {
        reason: Reason::PlatformError,
        message: format!(
            "the platform lists user {id} and does not find it: asked again until it is certain"
        ),
        retry: Retry::Backoff,
    }
}

/// The status as it is to be written; `None`: the object has it.
pub(in crate::controller) fn changed_status(
    context: &Context,
    o: &Observed,
    mut status: ProgrammaticUserStatus,
) -> Option<ProgrammaticUserStatus> {
    if o.intact {
        plan::set_checksum(&context.instance, &o.user, &mut status);
    }
    (o.user.status.as_ref() != Some(&status)).then_some(status)
}
