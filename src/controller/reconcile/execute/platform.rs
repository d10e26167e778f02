//! Steps that send requests to the platform.

use std::sync::Arc;

use kube::ResourceExt as _;

use crate::api::Reason;
use crate::controller::organizations::connections::Connection;
use crate::controller::reconcile::execute::executor::Executor;
use crate::controller::schedule::triggers::UserRef;
use crate::plan;
use crate::plan::{Answer, Created, Deletion, Found, Marker, Observed, Problem, Retry, is_marked};
use crate::platform::client::{Purpose, Sent};
use crate::platform::{CreateProgrammaticUser, PolicyGrant, client};

impl Executor<'_> {
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

    pub(super) async fn on_platform<T>(
        &self,
        o: &Observed,
        call: impl AsyncFnOnce(&client::Client) -> Result<T, client::Error>,
    ) -> Answer<T> {
        let (name, platform) = self.platform(o).await?;
        call(&self.client(o, &platform))
            .await
            .map_err(|e| self.context.platforms.problem(&name, &e))
    }

    pub(super) async fn look_up(&self, o: &Observed, fresh: bool) -> Answer<Found> {
        let (name, platform) = self.platform(o).await?;
        platform
            .catalog(fresh)
            .await
            .map_err(|e| self.context.platforms.problem(&name, &e))
    }

    pub(super) async fn reserve(&mut self, o: &Observed, purpose: Purpose) -> Answer<()> {
        let reserved = self
            .on_platform(o, async |c| c.reserve_create(purpose).await)
            .await;
        self.permit = Some(reserved?);
        Ok(())
    }

    pub(super) async fn create(&mut self, o: &Observed, body: &CreateProgrammaticUser) -> Created {
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

    pub(super) async fn compensate(&mut self, o: &Observed, id: &str) -> Answer<()> {
        // The token has no home: wipe it before anything else.
        self.token = None;
        self.on_platform(o, async |c| c.delete_user(id).await).await
    }

    pub(super) async fn read_user(&self, o: &mut Observed, id: String) {
        let answer = self.on_platform(o, async |c| c.user(&id).await).await;
        o.answers.details.insert(id, answer);
    }

    pub(super) async fn put_policies(&mut self, o: &mut Observed, id: String, policies: Vec<PolicyGrant>) {
        self.wrote = true;
        let put = self.on_platform(o, async |c| c.put_policies(&id, policies).await);
        let answer = put.await;
        o.answers.policies_put.insert(id, answer);
    }

    pub(super) async fn put_groups(&mut self, o: &mut Observed, id: String, groups: Vec<String>) {
        self.wrote = true;
        let put = self.on_platform(o, async |c| c.put_groups(&id, groups).await);
        let answer = put.await;
        o.answers.groups_put.insert(id, answer);
    }

    pub(super) async fn list_users(&self, o: &mut Observed) {
        let answer = self.on_platform(o, async |c| c.user_names().await).await;
        let uid = o.user.uid().unwrap_or_default();
        let shares = |listed: &Vec<_>| self.context.shares_digest(&uid, listed);
        o.answers.shared_digest = answer.as_ref().is_ok_and(shares);
        o.answers.listed = Some(answer);
    }

    /// Reads the user first: what a journal or an annotation says is never enough to delete something. Nor is it enough
    /// to forget something that it is not found once: then the list has to know nothing of it either.
    pub(super) async fn delete_user(&mut self, o: &Observed, id: &str, marker: &Marker) -> Answer<Deletion> {
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
