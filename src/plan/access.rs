//! What a user may do, by the platform's own ids: looked up, compared with what it has, put back.

use std::collections::BTreeSet;

use super::class::{named_by, not_allowed};
use super::flow::{Interrupt, answer};
use super::spec::Spec;
use super::{Catalog, Observed, Problem, Refusal, Retry, Step};
use crate::api::{Access, AccountEntry, PolicyEntry, ProgrammaticUserClass, READY, Reason, Role, Scope};
use crate::platform::{AccountGrant, AccountRole, PolicyGrant, PolicyName, UserDetails, UserGroup};

/// What the platform is asked for, by its own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedAccess {
    /// For the create call of a user with a role.
    pub accounts: Vec<AccountGrant>,
    /// Direct policies; empty for a user with a role.
    pub policies: Vec<PolicyGrant>,
    /// The policies that the roles are once the user exists; empty where the platform does not name them as its
    /// documentation does. They are not asked for, only compared and put back.
    pub roles: Vec<PolicyGrant>,
    /// Groups, sorted.
    pub groups: Vec<String>,
}

/// Puts policies and groups back that differ from what is asked for.
pub(super) fn apply_access(
    o: &Observed,
    desired: &Spec,
    grants: &ResolvedAccess,
    details: &UserDetails,
) -> Result<(), Interrupt> {
    let user_id = &details.user_id;
    let policies = if desired.access.role == Role::PolicyBased {
        &grants.policies
    } else {
        &grants.roles
    };
    if !policies.is_empty() && !same_policies(details, policies) {
        let step = || Step::PutPolicies(user_id.clone(), policies.clone());
        answer(o.answers.policies_put.get(user_id), step)?;
    }
    let groups: BTreeSet<&str> = details.groups.iter().map(|g| g.id.as_str()).collect();
    if groups != grants.groups.iter().map(String::as_str).collect() {
        let step = || Step::PutGroups(user_id.clone(), grants.groups.clone());
        answer(o.answers.groups_put.get(user_id), step)?;
    }
    Ok(())
}

pub(super) fn resolve_access(o: &Observed, desired: &Spec) -> Result<ResolvedAccess, Interrupt> {
    resolve_names(o, &desired.access)
}

/// What this access is on the platform.
pub(super) fn resolve_names(o: &Observed, access: &Access) -> Result<ResolvedAccess, Interrupt> {
    let found = answer(o.answers.catalog.as_ref(), || Step::LookUp(false))?;
    let Some(class) = &o.class else {
        return Ok(ResolvedAccess::default());
    };
    resolve(o.user.spec.scope, access, &found.catalog, class).map_err(|refusal| match found.again {
        _ if found.fresh || is_reported(o, &refusal) => refusal.into(),
        // It may have been created after the catalog was read.
        None => Interrupt::from(Step::LookUp(true)),
        // A name that is not allowed is refused by a catalog that others have just read, too: a revocation does not wait.
        Some(_) if refusal.reason == Reason::NotAllowed => refusal.into(),
        Some(span) => Interrupt::Failed(Problem {
            reason: refusal.reason,
            message: refusal.message,
            retry: Retry::After(span),
        }),
    })
}

/// Whether an earlier reconcile has found the same: that the object is looked at again is no reason to read all anew.
fn is_reported(o: &Observed, refusal: &Refusal) -> bool {
    let conditions = o.user.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|c| c.type_ == READY);
    ready.any(|c| c.reason == refusal.reason && c.observed_generation == o.user.metadata.generation)
}

/// Looks names up in what the platform has.
fn resolve(
    scope: Scope,
    access: &Access,
    catalog: &Catalog,
    class: &ProgrammaticUserClass,
) -> Result<ResolvedAccess, Refusal> {
    let mut wrong: Vec<Refusal> = unknown_account(access, catalog, class).into_iter().collect();
    let mut grants = ResolvedAccess::default();
    if access.role == Role::PolicyBased {
        for entry in &access.policies {
            let named = (entry.id.as_deref(), entry.name.as_deref());
            let policy = find(&POLICY, named, &catalog.policies, class);
            match policy.and_then(|policy| within(scope, policy, class).map(|()| policy)) {
                Ok(policy) => grants.policies.push(PolicyGrant {
                    policy_id: policy.id.clone(),
                    account_ids: accounts_of(entry, access),
                }),
                Err(refusal) => wrong.push(refusal),
            }
        }
    } else {
        grants.accounts = account_grants(access);
        grants.roles = as_policies(&grants.accounts, catalog);
    }
    for entry in &access.groups {
        let named = (entry.id.as_deref(), entry.name.as_deref());
        let group = find(&GROUP, named, &catalog.groups, class);
        match group.and_then(|group| carries_no_more(group, catalog, class).map(|()| group)) {
            Ok(group) => grants.groups.push(group.id.clone()),
            Err(refusal) => wrong.push(refusal),
        }
    }
    if !wrong.is_empty() {
        // An entry that is wrong must not hide one behind it that the class does not allow any more.
        let first = wrong.iter().position(|refusal| refusal.revokes);
        return Err(wrong.swap_remove(first.unwrap_or_default()));
    }
    grants.groups.sort_unstable();
    grants.groups.dedup();
    Ok(grants)
}

/// The first account that the organization does not have.
fn unknown_account(access: &Access, catalog: &Catalog, class: &ProgrammaticUserClass) -> Option<Refusal> {
    let of_policies = access.policies.iter().flat_map(|p| &p.accounts);
    let accounts = access.accounts.iter().map(|a| &a.id);
    let mut named = accounts.chain(of_policies.filter(|id| *id != "*"));
    let id = named.find(|id| !catalog.accounts.iter().any(|a| a.account_id == **id))?;
    let organization = &class.spec.organization_name;
    let message = format!("organization {organization} has no account {id}: correct the id");
    Some(Refusal::new(Reason::UnknownAccount, message))
}

fn account_grants(access: &Access) -> Vec<AccountGrant> {
    let grant = |account: &AccountEntry| AccountGrant {
        id: account.id.clone(),
        role: match account.role.unwrap_or(access.role) {
            Role::Editor => AccountRole::Editor,
            Role::Viewer | Role::PolicyBased => AccountRole::Viewer,
        },
    };
    access.accounts.iter().map(grant).collect()
}

/// A policy of the organization acts beyond the accounts that a user names: with `scope: Account` none may have it, and
/// otherwise only where the class allows all accounts.
fn within(scope: Scope, policy: &PolicyName, class: &ProgrammaticUserClass) -> Result<(), Refusal> {
    if !is_of_organization(policy) {
        return Ok(());
    }
    let name = &policy.name;
    if scope == Scope::Account {
        let message = format!(
            "scope Account: policy {name:?} is one of the organization, which acts beyond one account: take a policy of accounts, or make an object with scope: Organization"
        );
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    if named_by(&class.spec.allow.accounts, &[]) {
        return Ok(());
    }
    let entry = format!("policy {name:?} of the organization, which needs \"*\",");
    Err(not_allowed(class, &entry, "accounts").keeping())
}

/// The owner of a class answers for the groups that it names. One that only `"*"` allows carries no policy that the
/// class does not allow, and, since the platform does not say in which accounts they hold, none at all unless the class
/// allows all accounts.
fn carries_no_more(
    group: &UserGroup,
    catalog: &Catalog,
    class: &ProgrammaticUserClass,
) -> Result<(), Refusal> {
    let allow = &class.spec.allow;
    let is_named = [&group.id, &group.name].iter().any(|n| allow.groups.contains(n));
    if is_named || group.policy_names.is_empty() {
        return Ok(());
    }
    let is_allowed = |name: &String| {
        let of_name = catalog.policies.iter().filter(|p| p.name == *name);
        let mut ids = of_name.map(|p| p.id.as_str()).peekable();
        // Where several have the name, any of them may be meant.
        named_by(&allow.policies, &[Some(name)])
            || (ids.peek().is_some() && ids.all(|id| named_by(&allow.policies, &[Some(id)])))
    };
    if named_by(&allow.accounts, &[]) && group.policy_names.iter().all(is_allowed) {
        return Ok(());
    }
    let entry = format!("{:?}, which carries policies that it does not allow,", group.name);
    Err(not_allowed(class, &entry, "groups").keeping())
}

fn accounts_of(entry: &PolicyEntry, access: &Access) -> Vec<String> {
    if entry.accounts.is_empty() {
        access.accounts.iter().map(|a| a.id.clone()).collect()
    } else {
        entry.accounts.clone()
    }
}

/// What the platform has by name and id.
struct Kind<T> {
    noun: &'static str,
    /// The class's list of them.
    list: &'static str,
    unknown: Reason,
    allowed: fn(&ProgrammaticUserClass) -> &[String],
    id: fn(&T) -> &str,
    name: fn(&T) -> &str,
}

const POLICY: Kind<PolicyName> = Kind {
    noun: "policy",
    list: "policies",
    unknown: Reason::UnknownPolicy,
    allowed: |class| &class.spec.allow.policies,
    id: |policy| &policy.id,
    name: |policy| &policy.name,
};

const GROUP: Kind<UserGroup> = Kind {
    noun: "group",
    list: "groups",
    unknown: Reason::UnknownGroup,
    allowed: |class| &class.spec.allow.groups,
    id: |group| &group.id,
    name: |group| &group.name,
};

/// The one that an entry names, if the class allows it. Only who may have it learns whether there is one.
fn find<'a, T>(
    kind: &Kind<T>,
    (id, name): (Option<&str>, Option<&str>),
    all: &'a [T],
    class: &ProgrammaticUserClass,
) -> Result<&'a T, Refusal> {
    let organization = &class.spec.organization_name;
    let allowed = (kind.allowed)(class);
    let entry = id.or(name).unwrap_or_default();
    let is_meant = |t: &&T| id.map_or_else(|| (kind.name)(t) == entry, |id| (kind.id)(t) == id);
    let mut matching = all.iter().filter(is_meant);
    let (first, second) = (matching.next(), matching.next());
    if !named_by(allowed, &[id, name]) {
        let by_id = |t: &&T| second.is_none() && named_by(allowed, &[Some((kind.id)(t))]);
        let refusal = not_allowed(class, entry, kind.list);
        // One that is gone from the platform, and another one of the same name, withdraw nothing.
        let refusal = if first.is_some() && second.is_none() {
            refusal
        } else {
            refusal.keeping()
        };
        return first.filter(by_id).ok_or(refusal);
    }
    let noun = kind.noun;
    let message = match (first, second, id) {
        (Some(found), None, _) | (Some(found), _, Some(_)) => return Ok(found),
        (None, _, Some(id)) => {
            format!("organization {organization} has no {noun} with id {id}: correct the id")
        }
        (None, _, None) => format!(
            "organization {organization} has no {noun} named {entry:?}: correct the name, or create it there"
        ),
        (Some(_), Some(_), None) => format!(
            "organization {organization} has several {noun} objects named {entry:?}: use the id instead"
        ),
    };
    Err(Refusal::new(kind.unknown, message))
}

/// The role that a built-in policy is, by the name that the platform documents.
///
/// The ids of built-in policies are bare numbers, so that a policy of the organization does not pass for one.
pub(super) fn built_in_role(id: &str, name: &str) -> Option<AccountRole> {
    let role = match name {
        "Account Editor" => AccountRole::Editor,
        "Account Viewer" => AccountRole::Viewer,
        _ => return None,
    };
    id.bytes().all(|b| b.is_ascii_digit()).then_some(role)
}

/// Whether a policy is one of the organization, which acts beyond single accounts.
pub(super) fn is_of_organization(policy: &PolicyName) -> bool {
    policy.policy_type.ends_with("ORGANIZATION")
}

/// The built-in policies that these roles become; none, if one is not there.
fn as_policies(accounts: &[AccountGrant], catalog: &Catalog) -> Vec<PolicyGrant> {
    let mut grants = Vec::new();
    for account in accounts {
        let mut policies = catalog.policies.iter();
        let Some(policy) = policies.find(|p| built_in_role(&p.id, &p.name) == Some(account.role)) else {
            return Vec::new();
        };
        PolicyGrant::add(&mut grants, &policy.id, &account.id);
    }
    grants
}

/// Whether the user has these policies and no others.
fn same_policies(details: &UserDetails, wanted: &[PolicyGrant]) -> bool {
    let set = |pairs: Vec<(&str, &[String])>| -> BTreeSet<(String, BTreeSet<String>)> {
        pairs
            .into_iter()
            .map(|(id, accounts)| (id.to_owned(), accounts.iter().cloned().collect()))
            .collect()
    };
    set(details
        .policies
        .iter()
        .map(|p| (p.policy_id.as_str(), p.account_ids.as_slice()))
        .collect())
        == set(wanted
            .iter()
            .map(|p| (p.policy_id.as_str(), p.account_ids.as_slice()))
            .collect())
}
