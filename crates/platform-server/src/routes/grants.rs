//! Policies by account, as several bodies have them.

use std::collections::{HashMap, HashSet};

use crate::reply::ApiError;
use crate::resource::Resource;
use crate::store::access::Subject;
use crate::store::{Connection, access, stored, users};
use crate::validate::{Object, Problems, invalid};
use platform_api::PolicyGrant;

/// Fields of a grant. Answers also have the policy's name and type, which clients send back.
const GRANT: &[&str] = &["policyId", "accountIds", "accounts", "policyName", "policyType"];

/// The accounts of a grant. The vendor's description of user groups calls them `accounts`, its example and all else
/// `accountIds`.
fn accounts_of(grant: &Object, problems: &mut Problems) -> Vec<String> {
    let by_id = grant.texts("accountIds", problems);
    let by_other_name = grant.texts("accounts", problems);
    if !grant.has("accounts") {
        return by_id;
    }
    let ids = |list: &[String]| list.iter().cloned().collect::<HashSet<_>>();
    if grant.has("accountIds") && ids(&by_id) != ids(&by_other_name) {
        problems.add(&grant.path("accounts"), "must be the same as accountIds");
    }
    by_other_name
}

/// Reads the list; nothing is compared with the database yet.
pub(super) fn read(body: &Object, field: &str, problems: &mut Problems) -> Vec<PolicyGrant> {
    let entries = body.objects(field, problems);
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        entry.only(GRANT, problems);
        let policy_id = entry.required("policyId", problems);
        let account_ids = accounts_of(&entry, problems);
        found.push(PolicyGrant {
            policy_id,
            account_ids,
        });
    }
    found
}

/// Replaces the policies of a user or a group.
pub(super) async fn replace(
    conn: &mut Connection,
    subject: Subject<'_>,
    policies: Vec<PolicyGrant>,
) -> Result<(), ApiError> {
    let policies = check(conn, "policies", policies).await?;
    access::set_grants(conn, subject, &policies).await?;
    users::require_administrator(conn).await
}

/// Checks that everything named exists, and brings the grants of one policy together.
pub(super) async fn check(
    conn: &mut Connection,
    field: &str,
    grants: Vec<PolicyGrant>,
) -> Result<Vec<PolicyGrant>, ApiError> {
    let named = grants.iter().flat_map(|grant| &grant.account_ids);
    let named: HashSet<&str> = named.map(String::as_str).collect();
    let accounts = stored(conn, "account", &named.into_iter().collect::<Vec<_>>()).await?;
    let mut types = HashMap::<String, String>::new();
    let mut checked: Vec<PolicyGrant> = Vec::with_capacity(grants.len());
    for (index, grant) in grants.into_iter().enumerate() {
        let path = |inner: &str| format!("{field}.{index}.{inner}");
        let policy = &grant.policy_id;
        if !types.contains_key(policy) {
            let found = access::policy_type(&mut *conn, policy).await?;
            let found = found.ok_or_else(|| Resource::Policy.unknown(policy, &path("policyId")))?;
            types.insert(policy.clone(), found);
        }
        if grant.account_ids.is_empty() && types[policy].ends_with("ACCOUNT") {
            return Err(invalid(&path("accountIds"), "is required"));
        }
        let is_unknown = |account: &String| account != "*" && !accounts.contains(account);
        if let Some(at) = grant.account_ids.iter().position(is_unknown) {
            let field = path(&format!("accountIds.{at}"));
            return Err(Resource::Account.unknown(&grant.account_ids[at], &field));
        }
        match checked
            .iter_mut()
            .find(|other| other.policy_id == grant.policy_id)
        {
            // Without accounts an organization policy holds everywhere; a list must not narrow that, nor widen.
            Some(other) if other.account_ids.is_empty() || grant.account_ids.is_empty() => {
                return Err(invalid(&path("policyId"), "contains a duplicate value"));
            }
            Some(other) => {
                for account in grant.account_ids {
                    if !other.account_ids.contains(&account) {
                        other.account_ids.push(account);
                    }
                }
            }
            None => checked.push(grant),
        }
    }
    Ok(checked)
}
