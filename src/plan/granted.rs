//! What the token of a user may do: the operator records it before the user gets it, and compares the class with it.
//!
//! The spec does not tell: it may ask for something else since, and the operator may not be able to carry it out. The
//! token then keeps its access. `plan::tests::granted` has a case for each way to keep it.

use jiff::Timestamp;

use super::access::resolve_names;
use super::class::{check_granted, is_on, not_allowed};
use super::live::{Interrupt, answer, do_first, is_of_the_tenant, is_revoked, set_progress_conditions};
use super::{Catalog, Observed, Refusal, Step};
use crate::api::{
    Access, Granted, GrantedName, OnRevoked, ProgrammaticUserClass, ProgrammaticUserStatus, Reason, Role,
    Scope,
};

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
        let groups = access.groups.iter().map(|g| (&g.id, &g.name));
        add(
            &mut granted.groups,
            groups.map(|entry| named(entry, &groups_of(catalog))),
        );
        granted
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

    /// Whether the class allows each policy and group by the name that is recorded.
    #[must_use]
    pub fn is_named_by(&self, class: &ProgrammaticUserClass) -> bool {
        let allow = &class.spec.allow;
        let all = |names: &[GrantedName], list: &[String]| names.iter().all(|name| is_on(list, name));
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
            for name in names.iter().filter(|name| !is_on(list, name)) {
                let now = named((&name.id, &name.name), &all);
                let exists = all.iter().any(|(id, _)| now.id.as_deref() == Some(id));
                if exists && !is_on(list, &now) {
                    let entry = name.name.as_deref().or(name.id.as_deref());
                    return Err(not_allowed(class, entry.unwrap_or_default(), what));
                }
            }
        }
        Ok(())
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

/// Records what the pending attempt's user is about to get. `false`: the record would grow too long.
pub(super) fn record_pending(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    access: &Access,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    let pending = status.journal.pending.as_mut();
    let Some(granted) = pending.and_then(|pending| pending.granted.as_mut()) else {
        return Ok(true);
    };
    let grown = grow(granted, wanted(o, access));
    written(o, status, grown, now)
}

/// Records what the current user is about to get. From then on its access is not known to be as before: an object that asks
/// for the earlier access again is compared with the platform. (The model's worlds of "other groups" guard this.)
pub(super) fn record_current(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    access: &Access,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    let Some(current) = &mut status.journal.current else {
        return Ok(true);
    };
    let Some(granted) = &mut current.granted else {
        return Ok(true);
    };
    let grown = grow(granted, wanted(o, access));
    if grown == Some(true) {
        current.access = None;
    }
    written(o, status, grown, now)
}

/// Whether the record grew; `None`: it would grow too long.
fn grow(granted: &mut Granted, wanted: Granted) -> Option<bool> {
    let most = MOST.max(wanted.len());
    let mut both = granted.clone();
    both.extend(wanted);
    if both == *granted {
        return Some(false);
    }
    (both.len() <= most).then(|| *granted = both)?;
    Some(true)
}

fn written(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    grown: Option<bool>,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    if grown != Some(true) {
        return Ok(grown.is_some());
    }
    set_progress_conditions(o, status, now);
    Err(do_first(Step::Journal(Box::new(status.clone()), None)))
}

/// Whether the class still allows what a token was given. That the platform cannot be asked for names right now says nothing.
pub(super) fn check(o: &Observed, granted: Option<&Granted>) -> Result<(), Interrupt> {
    let (Some(class), Some(granted)) = (&o.class, granted) else {
        return Ok(());
    };
    if class.spec.on_revoked != OnRevoked::Revoke {
        return Ok(());
    }
    check_granted(granted, class)?;
    if granted.is_named_by(class) {
        return Ok(());
    }
    match answer(o.answers.catalog.as_ref(), || Step::LookUp(false)) {
        Ok(found) => Ok(granted.check_names(class, &found.catalog)?),
        Err(Interrupt::Next(next)) => Err(Interrupt::Next(next)),
        Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => Ok(()),
    }
}

/// An object that cannot be carried out keeps its token only if the class still allows what that token was given.
pub(super) fn withdrawn(o: &Observed, status: &ProgrammaticUserStatus, halt: Interrupt) -> Interrupt {
    let stays = match &halt {
        Interrupt::Next(_) => false,
        Interrupt::Refused(refusal) => !is_revoked(o, refusal),
        Interrupt::Failed(problem) => is_of_the_tenant(o, problem),
    };
    if !stays {
        return halt;
    }
    let current = status.journal.current.as_ref();
    match check(o, current.and_then(|current| current.granted.as_ref())) {
        Err(Interrupt::Next(next)) => Interrupt::Next(next),
        Err(Interrupt::Refused(refusal)) if is_revoked(o, &refusal) => Interrupt::Refused(refusal),
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => halt,
    }
}

/// Whether the class allows the policies and groups of a user that is there already. That the platform cannot be asked
/// for their names right now says nothing about it.
pub(super) fn still_granted(o: &Observed, access: &Access) -> Result<(), Interrupt> {
    if access.policies.is_empty() && access.groups.is_empty() {
        return Ok(());
    }
    match resolve_names(o, access) {
        Err(Interrupt::Refused(refusal))
            if [Reason::NotAllowed, Reason::InvalidSpec].contains(&refusal.reason) =>
        {
            Err(refusal.into())
        }
        Err(Interrupt::Next(next)) => Err(Interrupt::Next(next)),
        Ok(_) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => Ok(()),
    }
}

/// The class no longer allows what some replaced users may do: they do not live until their overlap ends.
pub(super) fn revoke_retiring(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    let Some(now) = o.platform_now else {
        return Ok(());
    };
    let mut any = false;
    for old in status.journal.retiring.iter_mut().filter(|old| !old.is_revoked()) {
        match check(o, old.granted.as_ref()) {
            Ok(()) | Err(Interrupt::Failed(_)) => {}
            Err(Interrupt::Next(next)) => return Err(Interrupt::Next(next)),
            Err(Interrupt::Refused(_)) => {
                old.revoke(now);
                any = true;
            }
        }
    }
    if any {
        return Err(do_first(Step::Journal(Box::new(status.clone()), None)));
    }
    Ok(())
}
