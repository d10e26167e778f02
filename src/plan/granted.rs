//! What the token of a user may do: the operator records it before the user gets it, and compares the class with it.
//!
//! The spec does not tell: it may ask for something else since, and the operator may not be able to carry it out. The
//! token then keeps its access. `plan::tests::granted` has a case for each way to keep it.

use super::access::{built_in_role, is_of_organization};
use super::class::{is_on, named_by, not_allowed};
use super::{Catalog, Observed, Refusal};
use crate::api::{Access, Granted, GrantedName, ProgrammaticUserClass, Role, Scope};
use crate::platform::{AccountRole, UserDetails};

/// Changes that were begun and never confirmed add up. Beyond this a new user is made instead.
const MOST: usize = 256;

impl Granted {
    /// What this access grants. The catalog adds the ids of names.
    #[must_use]
    pub fn new(scope: Scope, access: &Access, catalog: Option<&Catalog>) -> Self {
        let mut granted = Self {
            scope,
            roles: vec![access.role],
            accounts: Vec::new(),
            policies: Vec::new(),
            groups: Vec::new(),
        };
        add(&mut granted.roles, access.accounts.iter().filter_map(|a| a.role));
        add(
            &mut granted.accounts,
            access.accounts.iter().map(|a| a.id.clone()),
        );
        let of_policies = access.policies.iter().flat_map(|p| p.accounts.clone());
        add(&mut granted.accounts, of_policies);
        // A policy without accounts, of a user without accounts, holds wherever the platform lets it.
        let unbound = access.role == Role::PolicyBased
            && access.accounts.is_empty()
            && access.policies.iter().any(|p| p.accounts.is_empty());
        add(&mut granted.accounts, unbound.then(|| "*".to_owned()));
        let policies = access.policies.iter().map(|p| (&p.id, &p.name));
        add(
            &mut granted.policies,
            policies.map(|entry| named(entry, &policies_of(catalog))),
        );
        // A policy of the organization acts in all accounts.
        let mut known = catalog.iter().flat_map(|catalog| &catalog.policies);
        let has = |id: &str| granted.policies.iter().any(|p| p.id.as_deref() == Some(id));
        let all = known
            .any(|p| is_of_organization(p) && has(&p.id))
            .then(|| "*".to_owned());
        add(&mut granted.accounts, all);
        let groups = access.groups.iter().map(|g| (&g.id, &g.name));
        add(
            &mut granted.groups,
            groups.map(|entry| named(entry, &groups_of(catalog))),
        );
        granted
    }

    /// What the platform shows of a user. Built-in policies of accounts are what roles become.
    pub(super) fn of_user(scope: Scope, details: &UserDetails, catalog: &Catalog) -> Self {
        let mut granted = Self {
            scope,
            roles: Vec::new(),
            accounts: Vec::new(),
            policies: Vec::new(),
            groups: Vec::new(),
        };
        for policy in &details.policies {
            let id = Some(policy.policy_id.clone());
            let name = named(
                (&id, &Some(policy.policy_name.clone())),
                &policies_of(Some(catalog)),
            );
            let role = match built_in_role(&policy.policy_id, name.name.as_deref().unwrap_or_default()) {
                Some(AccountRole::Editor) => Role::Editor,
                Some(AccountRole::Viewer) => Role::Viewer,
                None => Role::PolicyBased,
            };
            add(&mut granted.roles, [role]);
            add(&mut granted.accounts, policy.account_ids.clone());
            add(&mut granted.policies, (role == Role::PolicyBased).then_some(name));
        }
        let groups = details
            .groups
            .iter()
            .map(|g| (Some(g.id.clone()), Some(g.name.clone())));
        let groups = groups.map(|(id, name)| named((&id, &name), &groups_of(Some(catalog))));
        add(&mut granted.groups, groups);
        // Groups and policies of the organization that an older version gave to a user of one account stop its object, and leave its token.
        if granted.accounts.len() > 1 {
            granted.scope = Scope::Organization;
        }
        granted
    }

    /// Of a record that cannot be read: only a class that allows everything allows it.
    #[must_use]
    pub fn unknown() -> Self {
        let any = || GrantedName {
            id: Some("*".to_owned()),
            name: None,
        };
        Self {
            scope: Scope::Organization,
            roles: vec![Role::Viewer, Role::Editor, Role::PolicyBased],
            accounts: vec!["*".to_owned()],
            policies: vec![any()],
            groups: vec![any()],
        }
    }

    /// Adds what this user may have as well. Its scope and roles never change.
    fn extend(&mut self, more: Self) {
        add(&mut self.accounts, more.accounts);
        add(&mut self.policies, more.policies);
        add(&mut self.groups, more.groups);
    }

    fn len(&self) -> usize {
        self.accounts.len() + self.policies.len() + self.groups.len()
    }

    /// Whether the class allows each policy and group whatever the platform calls it now: by its id, or by `"*"`.
    #[must_use]
    pub fn is_named_by(&self, class: &ProgrammaticUserClass) -> bool {
        let allow = &class.spec.allow;
        let all = |names: &[GrantedName], list: &[String]| names.iter().all(|name| is_certain(list, name));
        all(&self.policies, &allow.policies) && all(&self.groups, &allow.groups)
    }

    /// Whether the class still allows policies and groups by what the platform calls them now. One that is gone from the platform
    /// withdraws nothing.
    pub(super) fn check_names(
        &self,
        class: &ProgrammaticUserClass,
        catalog: &Catalog,
    ) -> Result<(), Refusal> {
        let allow = &class.spec.allow;
        let kinds = [
            (
                &self.policies,
                &allow.policies,
                policies_of(Some(catalog)),
                "policies",
            ),
            (&self.groups, &allow.groups, groups_of(Some(catalog)), "groups"),
        ];
        for (names, list, all, what) in kinds {
            for name in names.iter().filter(|name| !is_certain(list, name)) {
                let now = named((&name.id, &name.name), &all);
                let exists = all.iter().any(|(id, _)| now.id.as_deref() == Some(id));
                // The name that the class allows may be another one's by now. A new name alone withdraws nothing.
                let is_anothers = all
                    .iter()
                    .any(|(id, other)| now.id.as_deref() != Some(id) && name.name.as_deref() == Some(other));
                if exists && !is_on(list, &now) && (!is_on(list, name) || is_anothers) {
                    let entry = name.name.as_deref().or(name.id.as_deref());
                    return Err(not_allowed(class, entry.unwrap_or_default(), what));
                }
            }
        }
        Ok(())
    }
}

/// Whether a list holds an entry whatever its name is.
fn is_certain(list: &[String], entry: &GrantedName) -> bool {
    match &entry.id {
        Some(id) => named_by(list, &[Some(id)]),
        None => is_on(list, entry),
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// Ids and names of what the platform has.
type Names<'a> = Vec<(&'a str, &'a str)>;

fn policies_of(catalog: Option<&Catalog>) -> Names<'_> {
    let policies = catalog.into_iter().flat_map(|c| &c.policies);
    policies.map(|p| (&*p.id, &*p.name)).collect()
}

fn groups_of(catalog: Option<&Catalog>) -> Names<'_> {
    let groups = catalog.into_iter().flat_map(|c| &c.groups);
    groups.map(|g| (&*g.id, &*g.name)).collect()
}

/// Id and name of an entry, as the platform has them now; as the entry has them where the platform does not know it.
fn named((id, name): (&Option<String>, &Option<String>), all: &Names) -> GrantedName {
    let mut known = all.iter();
    let found = match (id, name) {
        (Some(id), _) => known
            .find(|(known, _)| id == known)
            .map(|(id, known)| (*id, name.is_some().then_some(*known))),
        (None, Some(name)) => known
            .find(|(_, known)| name == known)
            .map(|(id, known)| (*id, Some(*known))),
        (None, None) => None,
    };
    match found {
        Some((id, name)) => GrantedName {
            id: Some(id.to_owned()),
            name: name.map(str::to_owned),
        },
        None => GrantedName {
            id: id.clone(),
            name: name.clone(),
        },
    }
}

/// What the user of this object gets.
pub(super) fn wanted(o: &Observed, access: &Access) -> Granted {
    let catalog = o.answers.catalog.as_ref().and_then(|found| found.as_ref().ok());
    Granted::new(o.user.spec.scope, access, catalog.map(|found| &*found.catalog))
}

/// Whether the record grew; `None`: it would grow too long.
pub(super) fn grow(granted: &mut Granted, wanted: Granted) -> Option<bool> {
    let most = MOST.max(wanted.len());
    let mut both = granted.clone();
    both.extend(wanted);
    if both == *granted {
        return Some(false);
    }
    (both.len() <= most).then(|| *granted = both)?;
    Some(true)
}
