//! From what the objects say to what is wanted on the platform, or why not.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::schedule::Schedule;
use super::{Refusal, marker, secret_rules, template};
use crate::api::{
    Access, AccountEntry, Organization, ProgrammaticUser, ProgrammaticUserClass, Reason, Restart, Role,
    Scope, SecretKeys, SecretTemplate, SecretValue,
};

/// What one object asks for, defaults applied, before names are looked up on the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Name of the `Organization`.
    pub organization: String,
    /// Name on the platform, without the marker.
    pub display_name: String,
    /// Shown beside the name.
    pub description: Option<String>,
    /// Roles, policies, groups.
    pub access: Access,
    /// Name of the Secret.
    pub secret_name: String,
    /// Key in the Secret -> value.
    pub layout: BTreeMap<String, SecretValue>,
    /// Labels, annotations and files of the Secret.
    pub template: SecretTemplate,
    /// The account that goes into the Secret.
    pub account: Option<String>,
    /// The platform's URL.
    pub endpoint: String,
    /// Digest of what only a new user or a new Secret could change.
    pub fingerprint: String,
    /// Digest of the policies and groups.
    pub access_digest: String,
    /// When the token is replaced.
    pub schedule: Schedule,
    /// Whether workloads that read the Secret are restarted then.
    pub restart: bool,
}

/// Applies defaults and checks what can be checked without the platform.
pub fn validate(
    user: &ProgrammaticUser,
    class: &ProgrammaticUserClass,
    organization: &Organization,
) -> Result<Spec, Refusal> {
    let spec = &user.spec;
    let defaults = class.spec.defaults.as_ref();
    let own_name = user.metadata.name.clone().unwrap_or_default();
    let access = access(user, class).cloned().ok_or_else(|| {
        let class = &spec.class_name;
        let message =
            format!("nothing says what the user may do: set spec.access (class {class} has no default)");
        Refusal::new(Reason::AccessMissing, message)
    })?;
    check_shape(spec.scope, &access)?;
    let of_class = || defaults?.secret.as_ref()?.keys.clone();
    let keys = spec.secret.keys.clone().or_else(of_class).unwrap_or_default();
    let consumers = spec.consumers.as_ref().or_else(|| defaults?.consumers.as_ref());
    let account = account_of(user, &access)?;
    let mut desired = Spec {
        organization: class.spec.organization_name.clone(),
        display_name: spec.display_name.clone().unwrap_or_else(|| own_name.clone()),
        description: spec.description.clone(),
        secret_name: spec.secret.name.clone().unwrap_or(own_name),
        layout: layout(&keys, &spec.secret.extra_keys, account.is_some())?,
        template: spec.secret.template.clone().unwrap_or_default(),
        account,
        endpoint: organization.spec.endpoint.url.trim_end_matches('/').to_owned(),
        fingerprint: String::new(),
        access_digest: access_digest(&access),
        access,
        schedule: Schedule::new(user, class)?,
        restart: consumers.is_some_and(|c| c.restart == Restart::OnRotation),
    };
    desired.fingerprint = fingerprint(&desired, spec.scope);
    check_template(&desired)?;
    let secret = (&*desired.secret_name, &desired.layout, &desired.template);
    secret_rules::check(user, class, secret)?;
    Ok(desired)
}

/// The role of each account.
fn roles(access: &Access) -> BTreeMap<&String, Role> {
    let role = |a: &AccountEntry| a.role.unwrap_or(access.role);
    access.accounts.iter().map(|a| (&a.id, role(a))).collect()
}

/// What an object does not use leaves its digest as it was: nothing is replaced because there is a new field.
fn fingerprint(desired: &Spec, scope: Scope) -> String {
    let access = &desired.access;
    let mut fingerprint = digest(&(
        &desired.display_name,
        &desired.description,
        scope,
        access.role,
        (access.role != Role::PolicyBased).then(|| roles(access)),
        (&desired.secret_name, &desired.layout, &desired.account),
    ));
    let template = &desired.template;
    if *template != SecretTemplate::default() {
        fingerprint = digest(&(fingerprint, template));
    }
    let name = SecretValue::Endpoint.name();
    let has_key = desired
        .layout
        .values()
        .any(|value| *value == SecretValue::Endpoint);
    if has_key || template.data.values().any(|t| t.contains(name)) {
        fingerprint = digest(&(fingerprint, &desired.endpoint));
    }
    fingerprint
}

fn access_digest(access: &Access) -> String {
    let accounts = || roles(access).into_keys().collect::<Vec<_>>();
    let policies = (access.role == Role::PolicyBased).then(|| (&access.policies, accounts()));
    digest(&(policies, &access.groups))
}

/// What the user may do: as its object says, or as the class does in its place.
pub(super) fn access<'a>(user: &'a ProgrammaticUser, class: &'a ProgrammaticUserClass) -> Option<&'a Access> {
    let default = || class.spec.defaults.as_ref()?.access.as_ref();
    user.spec.access.as_ref().or_else(default)
}

/// Renders the files with a token that is none.
fn check_template(desired: &Spec) -> Result<(), Refusal> {
    let invalid = |message| Refusal::new(Reason::InvalidSpec, message);
    if let Some(key) = desired
        .template
        .data
        .keys()
        .find(|key| desired.layout.contains_key(*key))
    {
        let message = format!(
            "key {key} of the Secret is to carry a value and a file of secret.template.data: give one of them another key"
        );
        return Err(invalid(message));
    }
    template::render(&desired.template, &desired.values(), &"0".repeat(64))
        .map(drop)
        .map_err(invalid)
}

impl Spec {
    /// The values that the Secret can carry, but for the token.
    #[must_use]
    pub fn values(&self) -> BTreeMap<SecretValue, String> {
        let account = self
            .account
            .clone()
            .map(|account| (SecretValue::Account, account));
        let others = [
            (SecretValue::Endpoint, self.endpoint.clone()),
            (SecretValue::Organization, self.organization.clone()),
        ];
        others.into_iter().chain(account).collect()
    }
}

/// The rules of the CRD again: class defaults and objects from before a rule never met them.
fn check_shape(scope: Scope, access: &Access) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(Reason::InvalidSpec, message.to_owned()));
    if scope == Scope::Account && access.accounts.len() != 1 {
        return invalid("scope Account takes exactly one account: name it in access.accounts");
    }
    if scope == Scope::Account && !access.groups.is_empty() {
        return invalid(
            "scope Account: a group acts wherever its policies hold: make an object with scope: Organization (its writer needs verb use-organization-scope on the class), or leave access.groups out",
        );
    }
    match access.role {
        Role::PolicyBased if access.policies.is_empty() => {
            invalid("role PolicyBased needs at least one policy in access.policies")
        }
        Role::PolicyBased if access.accounts.iter().any(|a| a.role.is_some()) => {
            invalid("an account's own role goes with role Viewer or Editor only")
        }
        Role::Viewer | Role::Editor if !access.policies.is_empty() => {
            invalid("access.policies needs role: PolicyBased")
        }
        Role::Viewer | Role::Editor if access.accounts.is_empty() => {
            invalid("role Viewer or Editor needs at least one account in access.accounts")
        }
        Role::PolicyBased if scope == Scope::Account => {
            let own = &access.accounts[0].id;
            match access
                .policies
                .iter()
                .flat_map(|p| &p.accounts)
                .find(|a| *a != own)
            {
                Some(other) => invalid(&format!(
                    "scope Account: a policy cannot hold in {other}, only in {own}"
                )),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn account_of(user: &ProgrammaticUser, access: &Access) -> Result<Option<String>, Refusal> {
    let mut named: BTreeSet<&str> = access.accounts.iter().map(|a| a.id.as_str()).collect();
    named.extend(
        access
            .policies
            .iter()
            .flat_map(|p| &p.accounts)
            .map(String::as_str),
    );
    match &user.spec.secret.account {
        Some(chosen) if named.contains(chosen.as_str()) || named.contains("*") => Ok(Some(chosen.clone())),
        Some(chosen) => Err(Refusal::new(
            Reason::InvalidSpec,
            format!(
                "secret.account {chosen} is not among the accounts of this user: name one of access.accounts"
            ),
        )),
        None if named.len() == 1 && !named.contains("*") => Ok(named.pop_first().map(str::to_owned)),
        None => Ok(None),
    }
}

fn layout(
    keys: &SecretKeys,
    extra: &BTreeMap<String, SecretValue>,
    has_account: bool,
) -> Result<BTreeMap<String, SecretValue>, Refusal> {
    let mut layout = BTreeMap::new();
    let account_key = keys
        .account
        .clone()
        .or_else(|| has_account.then(|| "SPOTINST_ACCOUNT".to_owned()));
    let own = [
        (
            Some(keys.token.clone().unwrap_or_else(|| "SPOTINST_TOKEN".to_owned())),
            SecretValue::Token,
        ),
        (account_key, SecretValue::Account),
        (keys.endpoint.clone(), SecretValue::Endpoint),
        (keys.organization.clone(), SecretValue::Organization),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key?, value)));
    for (key, value) in own.chain(extra.iter().map(|(k, v)| (k.clone(), *v))) {
        if value == SecretValue::Account && !has_account {
            return Err(Refusal::new(
                Reason::InvalidSpec,
                format!("key {key} is to carry the account, but this user has several: set secret.account"),
            ));
        }
        if let Some(other) = layout.insert(key.clone(), value)
            && other != value
        {
            let message =
                format!("key {key} of the Secret is to carry two values: give one of them another key");
            return Err(Refusal::new(Reason::InvalidSpec, message));
        }
    }
    Ok(layout)
}

/// A digest of a value's JSON form, which stays the same when optional fields are added to the types.
fn digest(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    marker::base32(&Sha256::digest(json), 16)
}
