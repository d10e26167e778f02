//! Joins the users of one list with the Secrets of another.

use std::collections::HashMap;
use std::hash::Hash;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use crate::api::ProgrammaticUser;
use crate::controller::reconcile::observe::only_secret_name;
use crate::controller::reconcile::secret::own;
use crate::plan::OwnSecret;

/// Users without their Secrets, and Secrets without their users, that are kept until the other list shows them.
const MOST: usize = 2000;

/// The user's UID, and namespace and name of the Secret.
type Key = (String, String, String);

/// Users and Secrets that still miss each other.
#[derive(Default)]
pub(super) struct JoinBuffer {
    users: HashMap<Key, ProgrammaticUser>,
    secrets: HashMap<Key, OwnSecret>,
}

impl JoinBuffer {
    /// The user with its Secret, if that was shown.
    pub(super) fn user(&mut self, user: ProgrammaticUser) -> Option<(ProgrammaticUser, OwnSecret)> {
        let namespace = user.namespace().unwrap_or_default();
        let key = (uid(&user).to_owned(), namespace, only_secret_name(&user)?);
        if let Some(secret) = self.secrets.remove(&key) {
            return Some((user, secret));
        }
        insert_bounded(&mut self.users, key, user);
        None
    }

    /// What counts of the Secret with the user that owns it, if that was shown.
    pub(super) fn secret(&mut self, owner: &str, secret: &Secret) -> Option<(ProgrammaticUser, OwnSecret)> {
        let namespace = secret.namespace().unwrap_or_default();
        let key = (owner.to_owned(), namespace, secret.name_any());
        let secret = own(secret);
        if let Some(user) = self.users.remove(&key) {
            return Some((user, secret));
        }
        insert_bounded(&mut self.secrets, key, secret);
        None
    }
}

/// With many names that are not alike, those that came first are given up.
fn insert_bounded<K: Hash + Eq, V>(all: &mut HashMap<K, V>, key: K, value: V) {
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(key, value);
}

pub(super) fn uid(user: &ProgrammaticUser) -> &str {
    user.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(n: usize, secret: Option<&str>) -> ProgrammaticUser {
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": n.to_string(), "namespace": "a", "uid": format!("uid-{n}")},
            "spec": {"className": "c", "scope": "Account", "secret": {"name": secret}},
        }))
        .unwrap()
    }

    fn secret(namespace: &str, name: &str) -> Secret {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}})).unwrap()
    }

    #[test]
    fn a_user_finds_the_secret_of_its_name_that_it_owns_whichever_comes_first() {
        let mut pairs = JoinBuffer::default();
        assert!(pairs.user(user(1, None)).is_none());
        assert!(
            pairs.secret("uid-2", &secret("a", "1")).is_none(),
            "another one's"
        );
        assert!(
            pairs.secret("uid-1", &secret("a", "old")).is_none(),
            "of another name"
        );
        assert!(pairs.secret("uid-1", &secret("b", "1")).is_none(), "elsewhere");
        let (found, with) = pairs.secret("uid-1", &secret("a", "1")).unwrap();
        assert_eq!((found.name_any(), with.name), ("1".to_owned(), "1".to_owned()));
        assert!(pairs.secret("uid-3", &secret("a", "other")).is_none());
        assert!(pairs.user(user(3, Some("other"))).is_some());
    }

    #[test]
    fn what_finds_nothing_is_given_up_before_it_is_too_much() {
        let mut pairs = JoinBuffer::default();
        for n in 0..3 * MOST {
            assert!(pairs.user(user(n, None)).is_none());
            assert!(pairs.secret(&format!("uid-{n}"), &secret("a", "other")).is_none());
            assert!(pairs.users.len() <= MOST && pairs.secrets.len() <= MOST);
        }
        let last = 3 * MOST - 1;
        assert!(
            pairs
                .secret(&format!("uid-{last}"), &secret("a", &last.to_string()))
                .is_some()
        );
    }
}
