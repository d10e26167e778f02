//! What a class allows, checked by the operator itself before each effect on the platform.

use std::collections::BTreeMap;

use super::desired::Desired;
use super::{Observed, Refusal};
use crate::api::{ProgrammaticUser, ProgrammaticUserClass, Role};

/// Reason of every refusal of a class.
pub const NOT_ALLOWED: &str = "NotAllowed";

/// Whether the class is there to stay, and open to this namespace. A class that is being deleted allows nothing.
pub fn open_to(
    class: &ProgrammaticUserClass,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    if class.metadata.deletion_timestamp.is_some() {
        return refuse(format!(
            "class {name} is being deleted, and allows no user any more: delete this object and make one with another class"
        ));
    }
    let selector = &class.spec.namespaces;
    let by_name = selector.match_names.iter().any(|n| n == namespace);
    let by_label = !selector.match_labels.is_empty()
        && selector
            .match_labels
            .iter()
            .all(|(k, v)| labels.get(k) == Some(v));
    if by_name || by_label {
        return Ok(());
    }
    refuse(format!(
        "class {name} is not open to namespace {namespace}: ask its owner to add it to the class's namespaces"
    ))
}

/// Whether the class allows what is to become of the user when its object is deleted. Of an upgraded installation there may be
/// users for which it does not: their tokens are looked after, and not revoked for it.
pub fn retains(o: &Observed) -> Result<(), Refusal> {
    let (policy, Some(class)) = (o.user.spec.deletion_policy, &o.class) else {
        return Ok(());
    };
    if class.spec.allow.deletion_policies.contains(&policy) {
        return Ok(());
    }
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "class {name} does not allow deletionPolicy: {policy:?}: set spec.deletionPolicy to what it allows, or ask its owner to add it to the class's allow.deletionPolicies. Until then this object is deleted as with deletionPolicy: Delete"
    );
    Err(Refusal::new("DeletionPolicyNotAllowed", message))
}

/// Checks all but policies and groups, which [`allows`] checks once their ids are known. `siblings` is `None` for a
/// user that exists already: the number is a bound for new ones.
pub fn check(
    user: &ProgrammaticUser,
    class: &ProgrammaticUserClass,
    desired: &Desired,
    namespace_labels: &BTreeMap<String, String>,
    siblings: Option<usize>,
) -> Result<(), Refusal> {
    let name = &user.spec.class_name;
    let namespace = user.metadata.namespace.as_deref().unwrap_or_default();
    open_to(class, namespace, namespace_labels)?;
    if !class.spec.scopes.contains(&user.spec.scope) {
        return refuse(format!(
            "class {name} does not allow scope {:?}: it allows {:?}",
            user.spec.scope, class.spec.scopes
        ));
    }
    let access = &desired.access;
    let roles = access.accounts.iter().filter_map(|a| a.role).chain([access.role]);
    if let Some(role) = roles
        .into_iter()
        .find(|r: &Role| !class.spec.allow.roles.contains(r))
    {
        return refuse(format!(
            "class {name} does not allow role {role:?}: it allows {:?}",
            class.spec.allow.roles
        ));
    }
    let accounts = access
        .accounts
        .iter()
        .map(|a| &a.id)
        .chain(access.policies.iter().flat_map(|p| &p.accounts));
    for account in accounts {
        allows(&class.spec.allow.accounts, &[Some(account)], "accounts", class)?;
    }
    // A policy without accounts, of a user without accounts, holds wherever the platform lets it.
    if access.role == Role::PolicyBased
        && access.accounts.is_empty()
        && access.policies.iter().any(|p| p.accounts.is_empty())
    {
        allows(&class.spec.allow.accounts, &[Some("*")], "accounts", class)?;
    }
    let max = class
        .spec
        .max_users_per_namespace
        .and_then(|max| usize::try_from(max).ok());
    match (max, siblings) {
        (Some(max), Some(siblings)) if siblings >= max => refuse(format!(
            "class {name} allows {max} users in a namespace, and {namespace} has {siblings} others: delete one, or ask for a higher maxUsersPerNamespace"
        )),
        _ => Ok(()),
    }
}

/// Whether one of an entry's names is on a list, or the list holds `"*"`.
pub fn allows(
    list: &[String],
    names: &[Option<&str>],
    what: &str,
    class: &ProgrammaticUserClass,
) -> Result<(), Refusal> {
    if list.iter().any(|l| l == "*" || names.contains(&Some(l.as_str()))) {
        return Ok(());
    }
    let name = names.iter().rev().find_map(|n| *n).unwrap_or_default();
    let class = class.metadata.name.as_deref().unwrap_or_default();
    refuse(format!(
        "class {class} does not allow {name} among its {what}: it allows {list:?}"
    ))
}

fn refuse(message: String) -> Result<(), Refusal> {
    Err(Refusal::new(NOT_ALLOWED, message))
}
