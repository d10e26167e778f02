//! Has objects looked at again for reasons that no watch of their own shows.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;

use super::known::Known;
use super::queue::Queue;
use super::rest::AtRest;
use super::streams::{Cache, Changes, Guarded};
use crate::api::{Organization, ProgrammaticUserClass};

pub(super) type UserRef = ObjectRef<Known>;
pub(super) type UserTriggers = UnboundedReceiver<UserRef>;
pub(super) type OrganizationTriggers = UnboundedReceiver<ObjectRef<DeserializeGuard<Organization>>>;

/// Ways to the controllers. A send fails only when the controller has ended.
pub(super) struct Triggers {
    users: Vec<(Cache<Known>, UnboundedSender<UserRef>)>,
    organizations: UnboundedSender<ObjectRef<DeserializeGuard<Organization>>>,
    rest: Arc<AtRest>,
    queues: Arc<Queues>,
}

/// Since when objects wait, by kind.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) users: Queue,
    pub(super) organizations: Queue,
}

impl Triggers {
    /// Ways to the controllers of these caches and to that of the organizations, and what comes out at their ends.
    pub(super) fn new(
        caches: &[Cache<Known>],
        rest: Arc<AtRest>,
        queues: Arc<Queues>,
    ) -> (Self, Vec<UserTriggers>, OrganizationTriggers) {
        let (senders, receivers): (Vec<_>, Vec<_>) = caches.iter().map(|_| mpsc::unbounded()).unzip();
        let (organizations, for_organizations) = mpsc::unbounded();
        let users = caches.iter().cloned().zip(senders).collect();
        let triggers = Self {
            users,
            organizations,
            rest,
            queues,
        };
        (triggers, receivers, for_organizations)
    }

    /// One user.
    pub(super) fn user(&self, user: &UserRef) {
        for (cache, sender) in &self.users {
            if let Some(found) = cache.get(user) {
                self.rest.disturb(found.uid_ref());
                self.queues.users.asked(user.namespace.as_deref(), &user.name);
                let _ = sender.unbounded_send(user.clone());
            }
        }
    }

    /// All users that `wanted` picks.
    pub(super) fn users(&self, wanted: impl Fn(&Known) -> bool) {
        for (cache, sender) in &self.users {
            for user in cache.state() {
                if wanted(&user) {
                    self.rest.disturb(user.uid_ref());
                    self.queues
                        .users
                        .asked(user.namespace().as_deref(), &user.name_any());
                    let _ = sender.unbounded_send(ObjectRef::from_obj(&*user));
                }
            }
        }
    }

    /// One organization.
    pub(super) fn organization(&self, name: &str) {
        self.queues.organizations.asked(None, name);
        let _ = self.organizations.unbounded_send(ObjectRef::new(name));
    }
}

/// Has the users of a class looked at again when the class, or the state of its organization, changed.
pub(super) async fn fan_out(
    classes_changed: impl Changes<DeserializeGuard<ProgrammaticUserClass>>,
    organizations_changed: impl Changes<DeserializeGuard<Organization>>,
    classes: Guarded<ProgrammaticUserClass>,
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
            let lives = !organization.is_empty() && user.lives_in(&organization);
            lives || classes.iter().any(|class| user.is_of(class))
        });
    }
}
