//! Which objects the watch no longer shows.

use std::collections::HashSet;
use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;

use crate::controller::schedule::digest::{Digest, digest};

/// Compares each list with the store as it was before it: no event shows what was deleted between two watches.
pub(in crate::controller) struct Ended<K>(Vec<Arc<K>>);

impl<K> Default for Ended<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Ended<K> {
    /// The objects that ended with this event, which the store has already.
    pub(in crate::controller) fn observe(&mut self, event: &Event<K>, store: &Store<K>) -> Vec<Arc<K>> {
        let uid = |object: &K| digest(object.meta().uid.as_deref().unwrap_or_default());
        match event {
            // The store keeps the old objects until the list is complete.
            Event::Init => self.0 = store.state(),
            Event::Delete(object) => return vec![Arc::new(object.clone())],
            Event::InitDone => {
                let mut ended = std::mem::take(&mut self.0);
                if !ended.is_empty() {
                    let listed: HashSet<Digest> = store.state().iter().map(|o| uid(o)).collect();
                    ended.retain(|object| !listed.contains(&uid(object)));
                }
                return ended;
            }
            Event::Apply(_) | Event::InitApply(_) => {}
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use kube::runtime::reflector::store::Writer;

    use super::*;

    fn object(name: &str, uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    #[test]
    fn a_deletion_ends_an_object_and_so_does_a_list_without_it() {
        let (mut writer, mut ended) = (Writer::<ConfigMap>::new(()), Ended::default());
        let store = writer.as_reader();
        let mut observe = |event: Event<ConfigMap>| -> Vec<String> {
            writer.apply_watcher_event(&event);
            let ended = ended.observe(&event, &store);
            let mut uids: Vec<String> = ended.iter().filter_map(|o| o.uid()).collect();
            uids.sort();
            uids
        };
        let mut list = |objects: &[(&str, &str)]| -> Vec<String> {
            let all = objects
                .iter()
                .map(|(name, uid)| Event::InitApply(object(name, uid)));
            let all = std::iter::once(Event::Init).chain(all);
            all.chain([Event::InitDone]).flat_map(&mut observe).collect()
        };
        assert!(list(&[("a", "1"), ("b", "2"), ("c", "3")]).is_empty());
        assert!(list(&[("a", "1"), ("b", "2"), ("c", "3")]).is_empty());
        assert_eq!(list(&[("a", "1"), ("b", "4")]), ["2", "3"]);
        assert!(observe(Event::Apply(object("d", "5"))).is_empty());
        assert_eq!(observe(Event::Delete(object("d", "5"))), ["5"]);
        // A list that breaks off ends nothing.
        assert!(observe(Event::Init).is_empty());
        assert!(observe(Event::InitApply(object("a", "1"))).is_empty());
        assert!(observe(Event::Init).is_empty());
        assert_eq!(observe(Event::InitDone), ["1", "4"]);
    }
}
