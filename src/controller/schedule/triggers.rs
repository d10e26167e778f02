//! Enqueues objects for reasons that no watch of their own kind shows.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};

use crate::api::{Organization, ProgrammaticUserClass};
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::schedule::queue_lag::QueueLag;
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::streams::{Cache, Changes, Guarded};

pub(in crate::controller) type UserRef = ObjectRef<CachedUser>;
pub(in crate::controller) type UserTriggers = UnboundedReceiver<UserRef>;
pub(in crate::controller) type OrganizationTriggers =
    UnboundedReceiver<ObjectRef<DeserializeGuard<Organization>>>;

/// Ways to the controllers. A send fails only when the controller has ended.
pub(in crate::controller) struct Triggers {
    users: Vec<(Cache<CachedUser>, UnboundedSender<UserRef>)>,
    organizations: UnboundedSender<ObjectRef<DeserializeGuard<Organization>>>,
    objects: Arc<ObjectStates>,
    queues: Arc<Queues>,
}

/// Since when objects wait, by kind.
#[derive(Default)]
pub(in crate::controller) struct Queues {
    pub(in crate::controller) users: QueueLag,
    pub(in crate::controller) organizations: QueueLag,
}

impl Triggers {
    /// Ways to the controllers of these caches and to that of the organizations, and what comes out at their ends.
    pub(in crate::controller) fn new(
        caches: &[Cache<CachedUser>],
        objects: Arc<ObjectStates>,
        queues: Arc<Queues>,
    ) -> (Self, Vec<UserTriggers>, OrganizationTriggers) {
        let (senders, receivers): (Vec<_>, Vec<_>) = caches.iter().map(|_| mpsc::unbounded()).unzip();
        let (organizations, for_organizations) = mpsc::unbounded();
        let users = caches.iter().cloned().zip(senders).collect();
        let triggers = Self {
            users,
            organizations,
            objects,
            queues,
        };
        (triggers, receivers, for_organizations)
    }

    /// One user.
    pub(in crate::controller) fn user(&self, user: &UserRef) {
        for (cache, sender) in &self.users {
            if let Some(found) = cache.get(user) {
                self.objects.invalidate(found.uid_ref());
                self.queues.users.enqueued(user.namespace.as_deref(), &user.name);
                let _ = sender.unbounded_send(user.clone());
            }
        }
    }

    /// What is known of a user, if it is there.
    pub(in crate::controller) fn known(&self, user: &UserRef) -> Option<Arc<CachedUser>> {
        self.users.iter().find_map(|(cache, _)| cache.get(user))
    }

    /// One user that had to wait for its turn; whether it is still there.
    pub(in crate::controller) fn call(&self, user: &UserRef) -> bool {
        let mut here = self.users.iter().filter(|(cache, _)| cache.get(user).is_some());
        here.next()
            .is_some_and(|(_, sender)| sender.unbounded_send(user.clone()).is_ok())
    }

    /// All users that `wanted` picks, except those that await the startup scan: the scan sees the reason, too.
    pub(in crate::controller) fn users_looked_at(&self, wanted: impl Fn(&CachedUser) -> bool) {
        self.users(|user| wanted(user) && !self.objects.awaits_scan(user.uid_ref()));
    }

    /// All users that `wanted` picks.
    pub(in crate::controller) fn users(&self, wanted: impl Fn(&CachedUser) -> bool) {
        for (cache, sender) in &self.users {
            for user in cache.state() {
                if wanted(&user) {
                    self.objects.invalidate(user.uid_ref());
                    self.queues
                        .users
                        .enqueued(user.namespace().as_deref(), &user.name_any());
                    let _ = sender.unbounded_send(ObjectRef::from_obj(&*user));
                }
            }
        }
    }

    /// One organization.
    pub(in crate::controller) fn organization(&self, name: &str) {
        self.queues.organizations.enqueued(None, name);
        let _ = self.organizations.unbounded_send(ObjectRef::new(name));
    }
}

/// Enqueues the users of a class when the class, its Organization, or the labels by which it is open to their namespace
/// changed. A change of the Organization's readiness alone enqueues only the users that are not up to date: the others need
/// nothing of the platform, and an Organization that flaps would have all of them read anew each time.
pub(in crate::controller) async fn fan_out(
    classes_changed: impl Changes<DeserializeGuard<ProgrammaticUserClass>>,
    organizations_changed: impl Changes<DeserializeGuard<Organization>>,
    labels_changed: impl Changes<PartialObjectMeta<Namespace>>,
    classes: Guarded<ProgrammaticUserClass>,
    triggers: Arc<Triggers>,
) {
    let of_classes = |wanted: &dyn Fn(&ProgrammaticUserClass) -> bool| -> Vec<String> {
        let all = classes.state();
        let named = all.iter().filter(|c| c.0.as_ref().is_ok_and(wanted));
        named.map(|c| c.name_any()).collect()
    };
    let by_class = async {
        let mut changed = pin!(classes_changed);
        while let Some(Ok(class)) = changed.next().await {
            let class = class.name_any();
            triggers.users(|user| user.is_of(&class));
        }
    };
    let by_organization = async {
        let mut changed = pin!(organizations_changed);
        let mut specs = SpecChanges::default();
        while let Some(Ok(organization)) = changed.next().await {
            let spec_changed = specs.observe(&organization);
            let name = organization.name_any();
            let classes = of_classes(&|class| class.spec.organization_name == name);
            // A user may live in an organization that its class does not name any more.
            let theirs =
                |user: &CachedUser| user.lives_in(&name) || classes.iter().any(|class| user.is_of(class));
            triggers.users(|user| (spec_changed || !user.up_to_date) && theirs(user));
        }
    };
    let by_labels = async {
        let mut changed = pin!(labels_changed);
        while let Some(Ok(namespace)) = changed.next().await {
            let namespace = namespace.metadata.name;
            let classes = of_classes(&|class| !class.spec.namespaces.match_labels.is_empty());
            triggers
                .users(|user| user.namespace() == namespace && classes.iter().any(|class| user.is_of(class)));
        }
    };
    futures::future::join3(by_class, by_organization, by_labels).await;
}

/// Tells a change of an Organization's spec from a change of its status.
#[derive(Default)]
struct SpecChanges(HashMap<String, (Option<String>, Option<i64>)>);

impl SpecChanges {
    fn observe(&mut self, object: &impl Resource) -> bool {
        let seen = (object.uid(), object.meta().generation);
        self.0.insert(object.name_any(), seen.clone()) != Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn a_change_of_readiness_alone_is_no_change_of_the_spec() {
        let mut specs = SpecChanges::default();
        let mut observe = |uid: &str, generation: i64| {
            let mut object = ConfigMap::default();
            object.metadata.name = Some("acme".to_owned());
            object.metadata.uid = Some(uid.to_owned());
            object.metadata.generation = Some(generation);
            specs.observe(&object)
        };
        assert!(observe("1", 1));
        assert!(!observe("1", 1));
        assert!(observe("1", 2));
        assert!(observe("2", 2), "made anew under the same name");
        assert!(!observe("2", 2));
    }
}
