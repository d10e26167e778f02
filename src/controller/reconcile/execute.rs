//! IO out: takes one step and notes its answer.

mod executor;
mod platform;
mod secrets;
mod workloads;

use std::sync::Arc;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tracing::Instrument as _;

use crate::api::{FINALIZER, ProgrammaticUserStatus};
use crate::controller::context::Context;
use crate::controller::error::{Error, secret_problem};
use crate::controller::organizations::{classes, retained};
use crate::controller::watch::readable::{Readable, is_unreadable};
use crate::plan;
use crate::plan::{Answer, Observed, Retained, Step};
use crate::platform::client::CreatePermit;

pub(in crate::controller) use executor::Executor;

impl Executor<'_> {
    /// Gives back the permit of a call that is not made after all, before anything is written about it.
    pub(in crate::controller) fn give_back_permit(&mut self) {
        self.permit = None;
    }

    /// Takes `step`; an error is one that no status can tell of. An API server that answers late does not hold up the calls of others: what
    /// stands between a permit and its call ends with the permit, like a crash there.
    pub(in crate::controller) async fn execute(&mut self, step: Step, o: &mut Observed) -> Result<(), Error> {
        let span = tracing::debug_span!("step", step = step.name());
        let ends = self.permit.as_ref().map(CreatePermit::ends);
        let taken = match ends.filter(|_| !matches!(step, Step::Create(_))) {
            Some(ends) => {
                let taken = tokio::time::timeout_at(ends.into(), self.take(step, o).instrument(span)).await;
                taken.unwrap_or(Err(Error::PermitEnded))
            }
            None => self.take(step, o).instrument(span).await,
        };
        // No call can follow, and the slot is one that a revocation may wait for.
        if o.answers.dry_run.as_ref().is_some_and(Result::is_err) {
            self.give_back_permit();
        }
        taken
    }

    async fn take(&mut self, step: Step, o: &mut Observed) -> Result<(), Error> {
        match step {
            Step::Reserve(purpose) => o.answers.reserved = Some((purpose, self.reserve(o, purpose).await)),
            Step::LookUp(fresh) => o.answers.catalog = Some(self.look_up(o, fresh).await),
            Step::AddFinalizer => self.set_finalizer(o, true).await?,
            Step::RemoveFinalizer => self.set_finalizer(o, false).await?,
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
            Step::Compensate(id) => o.answers.compensated = Some(self.compensate(o, &id).await),
            Step::ReadUser(id) => self.read_user(o, id).await,
            Step::PutPolicies(id, policies) => self.put_policies(o, id, policies).await,
            Step::PutGroups(id, groups) => self.put_groups(o, id, groups).await,
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
            Step::ListUsers => self.list_users(o).await,
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
            Step::Record(user) => o.answers.recorded = Some(self.record(&user).await),
            Step::Release(own) => o.answers.released = Some(self.release(o, &own).await),
            Step::ReadPods(names) => o.answers.pods = Some(self.read_pods(&names).await),
            Step::Restart(restart) => self.restart(o, restart).await,
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

    async fn record(&mut self, user: &Retained) -> Answer<()> {
        self.wrote = true;
        let written = retained::record(self.context, user).await;
        written.map_err(|e| secret_problem("of the record", "written", &e))
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
        o.answers.finalizer_removed = !present;
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
}

/// The object as the API server has it after a write.
fn replace_object(o: &mut Observed, object: Readable) {
    o.user = Arc::new(object.user);
    o.unreadable = object.unreadable;
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
