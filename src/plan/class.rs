//! What a class allows, checked by the operator itself before each effect on the platform.
//!
//! Messages name what is refused, not what is allowed: who may use a class need not be one who may read it.

use std::collections::BTreeMap;

use super::{Observed, Refusal, schedule, spec};
use crate::api::{Granted, GrantedName, ProgrammaticUser, ProgrammaticUserClass, Reason, Scope};

/// Whether the class is there to stay, and open to this namespace. A class that is being deleted allows nothing.
pub fn open_to(
    class: &ProgrammaticUserClass,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    if class.metadata.deletion_timestamp.is_some() {
        return Err(refused(format!(
            "class {name} is being deleted, and allows no user any more: delete this object and make one with another class"
        )));
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
    Err(refused(format!(
        "class {name} is not open to namespace {namespace}: ask its owner to add it to the class's namespaces"
    )))
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
    Err(Refusal::new(Reason::DeletionPolicyNotAllowed, message))
}

/// Checks all that the objects alone tell. Where only the platform's ids can tell, `grants` does. `siblings` is `None` for
/// a user that exists already: the number is a bound for new ones.
///
/// Nothing that makes an object unusable may come before: it would keep a token that the class wants gone.
pub fn check(
    user: &ProgrammaticUser,
    class: &ProgrammaticUserClass,
    namespace_labels: &BTreeMap<String, String>,
    siblings: Option<usize>,
) -> Result<(), Refusal> {
    let name = &user.spec.class_name;
    let namespace = user.metadata.namespace.as_deref().unwrap_or_default();
    open_to(class, namespace, namespace_labels)?;
    check_access_of(user, class)?;
    schedule::check(user, class)?;
    let max = class
        .spec
        .max_users_per_namespace
        .and_then(|max| usize::try_from(max).ok());
    match (max, siblings) {
        (Some(max), Some(siblings)) if siblings >= max => Err(refused(format!(
            "class {name} allows {max} users in a namespace, and {namespace} has {siblings} others: delete one, or ask for a higher maxUsersPerNamespace"
        ))),
        _ => Ok(()),
    }
}

/// Checks scope, roles, accounts, policies and groups.
pub(super) fn check_access_of(user: &ProgrammaticUser, class: &ProgrammaticUserClass) -> Result<(), Refusal> {
    let scope = user.spec.scope;
    match spec::access(user, class) {
        Some(access) => check_granted(&Granted::new(scope, access, None), class),
        None => check_scope(scope, class),
    }
}

fn check_scope(scope: Scope, class: &ProgrammaticUserClass) -> Result<(), Refusal> {
    if class.spec.scopes.contains(&scope) {
        return Ok(());
    }
    let name = class.metadata.name.as_deref().unwrap_or_default();
    Err(refused(format!(
        "class {name} does not allow scope {scope:?}: take another, or ask its owner to add it to the class's scopes"
    )))
}

/// Checks what a user has, or is to get.
pub(super) fn check_granted(granted: &Granted, class: &ProgrammaticUserClass) -> Result<(), Refusal> {
    let allow = &class.spec.allow;
    check_scope(granted.scope, class)?;
    if let Some(role) = granted.roles.iter().find(|role| !allow.roles.contains(role)) {
        return Err(not_allowed(class, &format!("role {role:?}"), "roles"));
    }
    let is_allowed = |account: &&String| named_by(&allow.accounts, &[Some(account)]);
    if let Some(account) = granted.accounts.iter().find(|account| !is_allowed(account)) {
        return Err(not_allowed(class, account, "accounts"));
    }
    let policies = granted.policies.iter().map(|p| (&allow.policies, p, "policies"));
    let groups = granted.groups.iter().map(|g| (&allow.groups, g, "groups"));
    for (list, entry, what) in policies.chain(groups) {
        // A name that is not on the list may be that of an id that is.
        let by_id = entry.name.is_some() && !list.is_empty();
        if !by_id && !is_on(list, entry) {
            let entry = entry.id.as_ref().or(entry.name.as_ref());
            return Err(not_allowed(
                class,
                entry.map(String::as_str).unwrap_or_default(),
                what,
            ));
        }
    }
    Ok(())
}

/// Whether a list of the class has an entry by its id or its name.
pub(super) fn is_on(list: &[String], entry: &GrantedName) -> bool {
    named_by(list, &[entry.id.as_deref(), entry.name.as_deref()])
}

/// Whether one of an entry's names is on a list, or the list holds `"*"`.
pub(super) fn named_by(list: &[String], names: &[Option<&str>]) -> bool {
    list.iter().any(|l| l == "*" || names.contains(&Some(l.as_str())))
}

/// The same words whether the platform has it or not.
pub(super) fn not_allowed(class: &ProgrammaticUserClass, entry: &str, list: &str) -> Refusal {
    let class = class.metadata.name.as_deref().unwrap_or_default();
    refused(format!(
        "class {class} does not allow {entry} among its {list}: take another, or ask its owner to add it to allow.{list}"
    ))
}

fn refused(message: String) -> Refusal {
    Refusal::new(Reason::NotAllowed, message)
}
