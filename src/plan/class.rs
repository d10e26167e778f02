//! What a class allows, checked by the operator itself before each effect on the platform.

use std::collections::BTreeMap;

use super::Refusal;
use super::desired::Desired;
use crate::api::{ProgrammaticUser, ProgrammaticUserClass, Role};

/// Reason of every refusal of a class.
pub const NOT_ALLOWED: &str = "NotAllowed";

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
    let selector = &class.spec.namespaces;
    let by_name = selector.match_names.iter().any(|n| n == namespace);
    let by_label = !selector.match_labels.is_empty()
        && selector
            .match_labels
            .iter()
            .all(|(k, v)| namespace_labels.get(k) == Some(v));
    if !by_name && !by_label {
        return refuse(format!(
            "class {name} is not open to namespace {namespace}: ask its owner to add it to the class's namespaces"
        ));
    }
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
