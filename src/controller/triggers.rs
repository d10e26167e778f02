//! Has objects looked at again for reasons that no watch of their own shows.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;

use super::streams::{Cache, Changes};
use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};

pub(super) type UserRef = ObjectRef<DeserializeGuard<ProgrammaticUser>>;
pub(super) type UserTriggers = UnboundedReceiver<UserRef>;
pub(super) type OrganizationTriggers = UnboundedReceiver<ObjectRef<DeserializeGuard<Organization>>>;

/// Ways to the controllers. A send fails only when the controller has ended.
pub(super) struct Triggers {
    users: Vec<(Cache<ProgrammaticUser>, UnboundedSender<UserRef>)>,
    organizations: UnboundedSender<ObjectRef<DeserializeGuard<Organization>>>,
}

impl Triggers {
    /// Ways to the controllers of these caches and to that of the organizations, and what comes out at their ends.
    pub(super) fn new(caches: &[Cache<ProgrammaticUser>]) -> (Self, Vec<UserTriggers>, OrganizationTriggers) {
        let (senders, receivers): (Vec<_>, Vec<_>) = caches.iter().map(|_| mpsc::unbounded()).unzip();
        let (organizations, for_organizations) = mpsc::unbounded();
        let users = caches.iter().cloned().zip(senders).collect();
        (Self { users, organizations }, receivers, for_organizations)
    }

    /// One user.
    pub(super) fn user(&self, user: &UserRef) {
        for (cache, sender) in &self.users {
            if cache.get(user).is_some() {
                let _ = sender.unbounded_send(user.clone());
            }
        }
    }

    /// All users that `wanted` picks.
    pub(super) fn users(&self, wanted: impl Fn(&ProgrammaticUser) -> bool) {
        for (cache, sender) in &self.users {
            for user in cache.state() {
                if user.0.as_ref().is_ok_and(&wanted) {
                    let _ = sender.unbounded_send(ObjectRef::from_obj(&*user));
                }
            }
        }
    }

    /// One organization.
    pub(super) fn organization(&self, name: &str) {
        let _ = self.organizations.unbounded_send(ObjectRef::new(name));
    }
}

/// Has the users of a class looked at again when the class, or the state of its organization, changed.
pub(super) async fn fan_out(
    classes_changed: impl Changes<DeserializeGuard<ProgrammaticUserClass>>,
    organizations_changed: impl Changes<DeserializeGuard<Organization>>,
    classes: Cache<ProgrammaticUserClass>,
    triggers: Arc<Triggers>,
) {
    let by_class = classes_changed.map(|item| {
        let class = item.map(|class| class.name_any()).unwrap_or_default();
        (String::new(), vec![class])
    });
    let by_organization = organizations_changed.map(|item| {
        let name = item
            .map(|organization| organization.name_any())
            .unwrap_or_default();
        let of_it = |class: &ProgrammaticUserClass| class.spec.organization_name == name;
        let all = classes.state();
        let names: Vec<String> = all
            .iter()
            .filter(|c| c.0.as_ref().is_ok_and(of_it))
            .map(|c| c.name_any())
            .collect();
        (name, names)
    });
    let mut changed = std::pin::pin!(futures::stream::select(by_class, by_organization));
    while let Some((organization, classes)) = changed.next().await {
        triggers.users(|user| {
            // A user may live in an organization that its class does not name any more.
            let lives = user.status.as_ref().and_then(|s| s.organization_name.as_deref());
            classes.contains(&user.spec.class_name)
                || (lives == Some(organization.as_str()) && !organization.is_empty())
        });
    }
}
