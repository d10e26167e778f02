//! What of a watch is news, and what a list shows by what it does not have.

use std::collections::{HashMap, HashSet};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::{Predicate, watcher};

use crate::controller::reconcile::secret::owner;
use crate::controller::schedule::digest::{Digest, digest};

pub(in crate::controller) type Seen<K> = Result<watcher::Event<K>, watcher::Error>;

/// The objects for which `counts` gives another answer than before; with `deleted`, also those that are gone.
///
/// Those of a list come when the list is whole: until then the store has the objects from before it, and the receiver of
/// an object would find an old version there.
pub(in crate::controller) fn changes<K>(
    store: Store<K>,
    events: impl Stream<Item = Seen<K>> + Send + 'static,
    counts: impl Predicate<K> + Send + 'static,
    deleted: bool,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    // Both by UID.
    let mut known = HashMap::<Digest, Option<u64>>::new();
    let mut before = Vec::new();
    let id = |object: &K| digest(object.meta().uid.as_deref().unwrap_or_default());
    events.flat_map(move |event| {
        let is_news = |known: &mut HashMap<Digest, Option<u64>>, object: &K| {
            let answer = counts.hash_property(object);
            known.insert(id(object), answer) != Some(answer)
        };
        let mut at_once = None;
        let mut of_list = Vec::new();
        let mut gone = Vec::new();
        match event {
            Ok(watcher::Event::Init) => before = if deleted { store.state() } else { Vec::new() },
            Ok(watcher::Event::InitApply(_)) => {}
            Ok(watcher::Event::InitDone) => {
                // The store has the very list now.
                of_list = store.state();
                let listed: HashSet<Digest> = of_list.iter().map(|object| id(object)).collect();
                gone = std::mem::take(&mut before);
                gone.retain(|object| !listed.contains(&id(object)));
                known.retain(|uid, _| listed.contains(uid));
                of_list.retain(|object| is_news(&mut known, object));
            }
            Ok(watcher::Event::Apply(object)) => at_once = is_news(&mut known, &object).then_some(Ok(object)),
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&id(&object));
                at_once = deleted.then_some(Ok(object));
            }
            Err(error) => at_once = Some(Err(error)),
        }
        // Copied one at a time: there may be many.
        let from_store = of_list
            .into_iter()
            .chain(gone)
            .map(|object| Ok((*object).clone()));
        stream::iter(at_once.into_iter().chain(from_store))
    })
}

/// Who owns which Secret, by UIDs.
#[derive(Default)]
pub(in crate::controller) struct Owners {
    known: HashMap<Digest, Digest>,
    listed: HashSet<Digest>,
}

impl Owners {
    /// The owners of Secrets of which a list shows that they are gone: no event tells of what is deleted between two watches.
    pub(in crate::controller) fn see(
        &mut self,
        event: &watcher::Event<PartialObjectMeta<Secret>>,
    ) -> HashSet<Digest> {
        let id =
            |secret: &PartialObjectMeta<Secret>| digest(secret.meta().uid.as_deref().unwrap_or_default());
        let mut keep = |secret: &PartialObjectMeta<Secret>| {
            let uid = id(secret);
            if let Some(owner) = owner(secret) {
                self.known.insert(uid, digest(&owner.uid));
            }
            uid
        };
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(secret) => {
                let uid = keep(secret);
                self.listed.insert(uid);
            }
            watcher::Event::Apply(secret) => drop(keep(secret)),
            watcher::Event::Delete(secret) => drop(self.known.remove(&id(secret))),
            watcher::Event::InitDone => {
                let here = std::mem::take(&mut self.listed);
                return self
                    .known
                    .extract_if(|uid, _| !here.contains(uid))
                    .map(|(_, owner)| owner)
                    .collect();
            }
        }
        HashSet::new()
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use kube::ResourceExt as _;
    use kube::runtime::reflector;
    use kube::runtime::reflector::ObjectRef;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::controller::watch::cached_user::CachedUser;

    fn user(name: &str, generation: i64) -> CachedUser {
        let object = json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": name, "namespace": "a", "uid": name, "generation": generation, "resourceVersion": generation.to_string()},
            "spec": {"className": "c", "scope": "Account"},
        });
        serde_json::from_value(object).unwrap()
    }

    /// A watch, by hand.
    struct Watch {
        events: mpsc::UnboundedSender<Seen<CachedUser>>,
        store: Store<CachedUser>,
        changes: std::pin::Pin<Box<dyn Stream<Item = Result<CachedUser, watcher::Error>>>>,
    }

    impl Watch {
        fn new(deleted: bool) -> Self {
            let writer = Writer::<CachedUser>::new(());
            let store = writer.as_reader();
            let (events, shown) = mpsc::unbounded();
            let asks = |user: &CachedUser| Some(user.desired_digest);
            let changes = changes(store.clone(), reflector(writer, shown), asks, deleted);
            Self {
                events,
                store,
                changes: changes.boxed_local(),
            }
        }

        /// Names and versions in the stream after these events. The store has the same version of each, unless it is gone.
        async fn after(&mut self, events: Vec<Event<CachedUser>>) -> Vec<String> {
            for event in events {
                self.events.unbounded_send(Ok(event)).unwrap();
            }
            let mut changed = Vec::new();
            while let std::task::Poll::Ready(Some(item)) = futures::poll!(self.changes.next()) {
                let user = item.unwrap();
                let version = user.resource_version();
                let stored = self.store.get(&ObjectRef::from_obj(&user));
                if let Some(stored) = &stored {
                    assert_eq!(stored.resource_version(), version);
                }
                let gone = if stored.is_none() { " gone" } else { "" };
                changed.push(format!(
                    "{} {}{gone}",
                    user.name_any(),
                    version.unwrap_or_default()
                ));
            }
            changed.sort();
            changed
        }
    }

    #[tokio::test]
    async fn the_store_has_the_version_that_the_stream_shows() {
        let mut watch = Watch::new(false);
        let list = |users: &[CachedUser]| {
            let all = users.iter().cloned().map(Event::InitApply);
            std::iter::once(Event::Init).chain(all).collect::<Vec<_>>()
        };
        assert!(watch.after(list(&[user("x", 1), user("y", 1)])).await.is_empty());
        assert_eq!(watch.after(vec![Event::InitDone]).await, ["x 1", "y 1"]);
        assert_eq!(
            watch.after(vec![Event::Apply(user("x", 1))]).await,
            Vec::<String>::new()
        );
        assert_eq!(watch.after(vec![Event::Apply(user("x", 2))]).await, ["x 2"]);
        // The first page of a second list has a change and a new one: they come when the store has them.
        let page = list(&[user("x", 3), user("z", 1)]);
        assert!(watch.after(page).await.is_empty());
        let rest = vec![Event::InitApply(user("y", 1)), Event::InitDone];
        assert_eq!(watch.after(rest).await, ["x 3", "z 1"]);
        // The next list brings what a list that broke off had shown.
        assert!(watch.after(list(&[user("x", 4)])).await.is_empty());
        let mut again = list(&[user("x", 4), user("z", 1)]);
        again.push(Event::InitDone);
        assert_eq!(watch.after(again).await, ["x 4"]);
        assert_eq!(watch.after(vec![Event::Apply(user("y", 1))]).await, ["y 1"]);
        assert!(watch.after(vec![Event::Delete(user("y", 1))]).await.is_empty());
    }

    #[tokio::test]
    async fn the_stream_shows_deletions_also_those_that_only_a_list_shows() {
        let mut watch = Watch::new(true);
        let list = |names: &[&str]| {
            let all = names.iter().map(|name| Event::InitApply(user(name, 1)));
            let all = std::iter::once(Event::Init).chain(all);
            all.chain([Event::InitDone]).collect::<Vec<_>>()
        };
        assert_eq!(watch.after(list(&["x", "y", "z"])).await.len(), 3);
        assert_eq!(watch.after(vec![Event::Delete(user("x", 1))]).await, ["x 1 gone"]);
        assert_eq!(watch.after(list(&["z"])).await, ["y 1 gone"]);
        assert_eq!(watch.after(list(&["y", "z"])).await, ["y 1"]);
    }

    #[test]
    fn a_secret_that_a_list_misses_is_missed_by_its_owner() {
        let secret = |name: &str| -> PartialObjectMeta<Secret> {
            serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "uid": format!("of-{name}"), "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ProgrammaticUser", "name": name, "uid": name, "controller": true}
                ]},
            }))
            .unwrap()
        };
        let mut owners = Owners::default();
        let mut list = |names: &[&str]| {
            let mut gone = owners.see(&Event::Init);
            for name in names {
                gone.extend(owners.see(&Event::InitApply(secret(name))));
            }
            gone.extend(owners.see(&Event::InitDone));
            gone
        };
        assert!(list(&["x", "y", "z"]).is_empty());
        assert_eq!(list(&["x", "z"]), HashSet::from([digest("y")]));
        assert!(list(&["x", "z"]).is_empty());
        assert!(owners.see(&Event::Delete(secret("x"))).is_empty());
        assert!(owners.see(&Event::Apply(secret("w"))).is_empty());
        assert!(owners.see(&Event::Init).is_empty());
        assert_eq!(
            owners.see(&Event::InitDone),
            HashSet::from([digest("w"), digest("z")])
        );
    }
}
