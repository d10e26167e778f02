//! What a user may do, by the platform's own ids: looked up, compared with what it has, put back.

use std::collections::BTreeSet;

use super::live::{Halt, answer, do_first};
use super::{Catalog, Desired, Observed, Problem, Refusal, Retry, Step};
use crate::api::{Access, PolicyEntry, ProgrammaticUserClass, READY, Role};
use crate::platform::{AccountGrant, AccountRole, PolicyGrant, UserDetails};

/// What the platform is asked for, by its own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
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
    desired: &Desired,
    grants: &Grants,
    details: &UserDetails,
) -> Result<(), Halt> {
    let user_id = &details.user_id;
    let policies = if desired.access.role == Role::PolicyBased {
        &grants.policies
    } else {
        &grants.roles
    };
    if !policies.is_empty() && !same_policies(details, policies) {
        let step = || Step::PutPolicies(user_id.clone(), policies.clone());
        answer(o.learned.policies_put.as_ref(), step)?;
    }
    let groups: BTreeSet<&str> = details.groups.iter().map(|g| g.id.as_str()).collect();
    if groups != grants.groups.iter().map(String::as_str).collect() {
        let step = || Step::PutGroups(user_id.clone(), grants.groups.clone());
        answer(o.learned.groups_put.as_ref(), step)?;
    }
    Ok(())
}

pub(super) fn grants(o: &Observed, desired: &Desired) -> Result<Grants, Halt> {
    let found = answer(o.learned.catalog.as_ref(), || Step::LookUp(false))?;
    let Some(class) = &o.class else {
        return Ok(Grants::default());
    };
    resolve(desired, &found.catalog, class).map_err(|refusal| match found.again {
        _ if found.fresh || is_told(o, &refusal) => refusal.into(),
        // Somebody may have made it a moment ago.
        None => do_first(Step::LookUp(true)),
        // A name that is not allowed is refused by a catalog that others have just read, too: a revocation does not wait.
        Some(_) if refusal.reason == super::class::NOT_ALLOWED => refusal.into(),
        Some(span) => Halt::Failed(Problem {
            reason: refusal.reason,
            message: refusal.message,
            retry: Retry::After(span),
        }),
    })
}

/// Whether an earlier reconcile has found the same: that the object is looked at again is no reason to read all anew.
fn is_told(o: &Observed, refusal: &Refusal) -> bool {
    let conditions = o.user.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|c| c.type_ == READY);
    ready.any(|c| c.reason == refusal.reason && c.observed_generation == o.user.metadata.generation)
}

/// Looks names up in what the platform has.
fn resolve(desired: &Desired, catalog: &Catalog, class: &ProgrammaticUserClass) -> Result<Grants, Refusal> {
    let access = &desired.access;
    let allow = &class.spec.allow;
    let known = |id: &str| catalog.accounts.iter().any(|a| a.account_id == id);
    let policy_accounts = access
        .policies
        .iter()
        .flat_map(|p| &p.accounts)
        .filter(|a| *a != "*");
    let unknown = access
        .accounts
        .iter()
        .map(|a| &a.id)
        .chain(policy_accounts)
        .find(|a| !known(a));
    if let Some(id) = unknown {
        let message = format!(
            "organization {} has no account {id}: correct the id",
            desired.organization
        );
        return Err(Refusal::new("UnknownAccount", message));
    }
    let mut grants = Grants::default();
    if access.role == Role::PolicyBased {
        for entry in &access.policies {
            let all = catalog.policies.iter().map(|p| (p.id.as_str(), p.name.as_str()));
            let named = (entry.id.as_deref(), entry.name.as_deref());
            let id = find("policy", "UnknownPolicy", named, all, &desired.organization)?;
            super::class::allows(
                &allow.policies,
                &[Some(id), entry.name.as_deref()],
                "policies",
                class,
            )?;
            grants.policies.push(PolicyGrant {
                policy_id: id.to_owned(),
                account_ids: accounts_of(entry, access),
            });
        }
    } else {
        grants.accounts = access
            .accounts
            .iter()
            .map(|a| AccountGrant {
                id: a.id.clone(),
                role: match a.role.unwrap_or(access.role) {
                    Role::Editor => AccountRole::Editor,
                    Role::Viewer | Role::PolicyBased => AccountRole::Viewer,
                },
            })
            .collect();
        grants.roles = as_policies(&grants.accounts, catalog);
    }
    for entry in &access.groups {
        let all = catalog.groups.iter().map(|g| (g.id.as_str(), g.name.as_str()));
        let named = (entry.id.as_deref(), entry.name.as_deref());
        let id = find("group", "UnknownGroup", named, all, &desired.organization)?;
        super::class::allows(&allow.groups, &[Some(id), entry.name.as_deref()], "groups", class)?;
        grants.groups.push(id.to_owned());
    }
    grants.groups.sort_unstable();
    grants.groups.dedup();
    Ok(grants)
}

fn accounts_of(entry: &PolicyEntry, access: &Access) -> Vec<String> {
    if entry.accounts.is_empty() {
        access.accounts.iter().map(|a| a.id.clone()).collect()
    } else {
        entry.accounts.clone()
    }
}

fn find<'a>(
    noun: &str,
    reason: &'static str,
    (id, name): (Option<&str>, Option<&str>),
    mut all: impl Iterator<Item = (&'a str, &'a str)>,
    organization: &str,
) -> Result<&'a str, Refusal> {
    if let Some(id) = id {
        return all.find(|(i, _)| *i == id).map(|(i, _)| i).ok_or_else(|| {
            Refusal::new(
                reason,
                format!("organization {organization} has no {noun} with id {id}: correct the id"),
            )
        });
    }
    let name = name.unwrap_or_default();
    let mut matching = all.filter(|(_, n)| *n == name).map(|(i, _)| i);
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Refusal::new(
            reason,
            format!(
                "organization {organization} has no {noun} named {name:?}: correct the name, or create it there"
            ),
        )),
        (Some(_), Some(_)) => Err(Refusal::new(
            reason,
            format!(
                "organization {organization} has several {noun} objects named {name:?}: use the id instead"
            ),
        )),
    }
}

/// The built-in policies that these roles become, by the names that the platform documents; none, if one is not there.
///
/// The ids of built-in policies are bare numbers, so that nobody's own policy passes for one.
fn as_policies(accounts: &[AccountGrant], catalog: &Catalog) -> Vec<PolicyGrant> {
    let mut grants = Vec::new();
    for account in accounts {
        let name = match account.role {
            AccountRole::Editor => "Account Editor",
            AccountRole::Viewer => "Account Viewer",
        };
        let built_in = |id: &str| id.bytes().all(|b| b.is_ascii_digit());
        let Some(policy) = catalog
            .policies
            .iter()
            .find(|p| p.name == name && built_in(&p.id))
        else {
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
