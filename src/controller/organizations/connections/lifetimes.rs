//! Which Organizations exist, by the watch, and the state of each. A state begins when a reconcile first needs it, and
//! ends here and nowhere else: when the watch shows the deletion of its Organization, another Organization under its name,
//! or a list without it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher;
use kube::{Resource, ResourceExt as _};

use crate::controller::organizations::connections::state::OrganizationState;

#[derive(Default)]
pub(super) struct Lifetimes(Mutex<Live>);

#[derive(Default)]
struct Live {
    by_name: HashMap<String, Entry>,
    /// Names of a list that is under way.
    listed: HashSet<String>,
}

struct Entry {
    uid: Option<String>,
    state: Option<Arc<OrganizationState>>,
}

impl Lifetimes {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<OrganizationState>> {
        self.live().by_name.get(name)?.state.clone()
    }

    /// The state of the Organization with this name and UID. `None`: the watch does not show it.
    pub(super) fn get_or_make(
        &self,
        name: &str,
        uid: Option<&str>,
        make: impl FnOnce() -> OrganizationState,
    ) -> Option<Arc<OrganizationState>> {
        let mut live = self.live();
        let entry = live.by_name.get_mut(name).filter(|e| e.uid.as_deref() == uid)?;
        Some(entry.state.get_or_insert_with(|| Arc::new(make())).clone())
    }

    /// The UIDs of the Organizations that ended.
    pub(super) fn observe<K: Resource<DynamicType = ()>>(&self, event: &watcher::Event<K>) -> Vec<String> {
        let mut live = self.live();
        match event {
            watcher::Event::Init => {
                live.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                live.listed.insert(object.name_any());
                live.apply(object)
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut live.listed);
                let ended = live.by_name.extract_if(|name, _| !listed.contains(name));
                ended.filter_map(|(_, entry)| entry.uid).collect()
            }
            watcher::Event::Apply(object) => live.apply(object),
            watcher::Event::Delete(object) => {
                let ended = live.by_name.remove(&object.name_any());
                ended.and_then(|entry| entry.uid).into_iter().collect()
            }
        }
    }
}

impl Live {
    fn apply(&mut self, object: &impl Resource) -> Vec<String> {
        let (name, uid) = (object.name_any(), object.uid());
        if self.by_name.get(&name).is_some_and(|entry| entry.uid == uid) {
            return Vec::new();
        }
        let ended = self.by_name.insert(name, Entry { uid, state: None });
        ended.and_then(|entry| entry.uid).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::api::Organization;
    use crate::controller::organizations::connections::connection::Connection;
    use crate::platform::Token;
    use crate::platform::client::{Client, Config, LimiterEvents, Limits, RateLimiter};

    fn organization(name: &str, uid: &str) -> Organization {
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization",
            "metadata": {"name": name, "uid": uid},
            "spec": {
                "endpoint": {"url": "https://platform.example"}, "deletionProtection": false,
                "credentials": {"secretName": "admin", "key": "token"},
            },
        }))
        .unwrap()
    }

    fn make() -> OrganizationState {
        OrganizationState::new(RateLimiter::new(Limits::default(), LimiterEvents::default()))
    }

    /// A state with a connection, as a reconcile leaves it.
    fn connected(all: &Lifetimes, name: &str, uid: &str) -> Weak<OrganizationState> {
        let state = all.get_or_make(name, Some(uid), make).unwrap();
        let client = Client::new(Config {
            url: "https://platform.example".to_owned(),
            ca_bundle: None,
            timeout: Duration::from_secs(1),
            create_timeout: Duration::from_secs(1),
            token: Token::new("0123456789abcdef").unwrap(),
            previous: None,
            gate: state.limiter.clone(),
        })
        .unwrap();
        let connection = Connection::new(client, state.limiter.clone(), None, (None, None));
        *state.connection.try_lock().unwrap() = Some(Arc::new(connection));
        Arc::downgrade(&state)
    }

    #[test]
    fn the_state_and_its_credential_are_freed_when_the_organization_is_deleted() {
        let all = Lifetimes::default();
        all.observe(&Event::Apply(organization("acme", "1")));
        let state = connected(&all, "acme", "1");
        let connection = Arc::downgrade(&state.upgrade().unwrap().connected().unwrap());
        assert!(all.get("acme").is_some());
        assert_eq!(all.observe(&Event::Delete(organization("acme", "1"))), ["1"]);
        assert!(state.upgrade().is_none() && connection.upgrade().is_none());
        assert!(all.get("acme").is_none());
    }

    #[test]
    fn a_late_reconcile_does_not_bring_the_state_of_a_deleted_organization_back() {
        let all = Lifetimes::default();
        all.observe(&Event::Apply(organization("acme", "1")));
        let state = connected(&all, "acme", "1");
        all.observe(&Event::Delete(organization("acme", "1")));
        assert!(all.get_or_make("acme", Some("1"), make).is_none());
        assert!(all.live().by_name.is_empty());
        // Made anew under the same name.
        all.observe(&Event::Apply(organization("acme", "2")));
        assert!(all.get_or_make("acme", Some("1"), make).is_none());
        assert!(all.get_or_make("acme", Some("2"), make).is_some());
        assert!(state.upgrade().is_none());
    }

    #[test]
    fn another_organization_of_the_same_name_has_another_state() {
        let all = Lifetimes::default();
        all.observe(&Event::Apply(organization("acme", "1")));
        let state = connected(&all, "acme", "1");
        all.observe(&Event::Apply(organization("acme", "1")));
        assert!(state.upgrade().is_some(), "a change ends nothing");
        // The watch was away when it was deleted and made anew.
        assert_eq!(all.observe(&Event::Apply(organization("acme", "2"))), ["1"]);
        assert!(state.upgrade().is_none() && all.get("acme").is_none());
    }

    #[test]
    fn a_list_without_the_organization_ends_its_state() {
        let all = Lifetimes::default();
        all.observe(&Event::Apply(organization("acme", "1")));
        all.observe(&Event::Apply(organization("other", "2")));
        let (gone, kept) = (connected(&all, "acme", "1"), connected(&all, "other", "2"));
        for event in [
            Event::Init,
            Event::InitApply(organization("acme", "1")),
            // The list broke off, and began again.
            Event::Init,
            Event::InitApply(organization("other", "2")),
        ] {
            all.observe(&event);
            assert!(gone.upgrade().is_some());
        }
        assert_eq!(all.observe(&Event::<Organization>::InitDone), ["1"]);
        assert!(gone.upgrade().is_none() && kept.upgrade().is_some());
    }

    #[test]
    fn a_thousand_organizations_that_come_and_go_leave_nothing() {
        let all = Lifetimes::default();
        for n in 0..1000 {
            let (name, uid) = (format!("o-{n}"), n.to_string());
            all.observe(&Event::Apply(organization(&name, &uid)));
            let state = Arc::downgrade(&all.get_or_make(&name, Some(&uid), make).unwrap());
            all.observe(&Event::Delete(organization(&name, &uid)));
            assert!(state.upgrade().is_none());
        }
        assert!(all.live().by_name.is_empty() && all.live().listed.is_empty());
    }
}
