//! The older way to give console users rights, account by account. What it sets are policies like any other.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use serde_json::{Value, json};

use super::{Admitted, Outcome};
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::store::access::Subject;
use crate::store::{Connection, access, users};
use crate::validate::{Object, Problems, invalid};
use crate::{App, catalog};
use platform_api::{PolicyGrant, UserPolicy};

const KIND: &str = "spotinst:setup:accountUserMapping";
/// What a mapping may have.
const MAPPING: &[&str] = &[
    "userId",
    "userEmail",
    "accountId",
    "role",
    "permissionStrategy",
    "policyIds",
];
const ROLES: [(&str, &str); 2] = [
    ("viewer", catalog::ACCOUNT_VIEWER),
    ("editor", catalog::ACCOUNT_EDITOR),
];

/// What a user is to have in one account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    /// Where it stands in the body, with a dot behind.
    place: String,
    user: Named,
    account: String,
    policies: Vec<String>,
}

impl Mapping {
    async fn require_policies(&self, conn: &mut Connection) -> Result<(), ApiError> {
        let policies: Vec<_> = self.policies.iter().map(String::as_str).collect();
        let field = |index| format!("{}policyIds.{index}", self.place);
        Resource::Policy.require_all(conn, &policies, field).await
    }
}

/// A console user, by one of two names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Id(String),
    Email(String),
}

impl Named {
    /// `userId` or `userEmail`.
    fn read(body: &Object, problems: &mut Problems) -> Self {
        let (id, email) = (body.text("userId", problems), body.text("userEmail", problems));
        match (id, email) {
            (Some(id), None) => Self::Id(id),
            (None, Some(email)) => Self::Email(email.trim().to_owned()),
            (Some(_), Some(_)) => {
                problems.add(
                    &body.path("userEmail"),
                    "conflicts with \"userId\": give one of them",
                );
                Self::Email(String::new())
            }
            (None, None) => {
                problems.add(&body.path("userEmail"), "or \"userId\" is required");
                Self::Email(String::new())
            }
        }
    }

    async fn find(&self, conn: &mut Connection, place: &str) -> Result<String, ApiError> {
        let (field, given, found) = match self {
            Self::Id(id) => ("userId", id, users::email(conn, id).await?.map(|_| id.clone())),
            Self::Email(email) => ("userEmail", email, users::by_email(conn, email).await?),
        };
        found.ok_or_else(|| {
            ApiError::Unknown(
                "USER_DOESNT_EXIST",
                format!("There is no console user {given}; what others may do is set by policyMapping"),
                format!("{place}{field}"),
            )
        })
    }
}

fn read_role(body: &Object, problems: &mut Problems) -> Option<&'static str> {
    let role = body.required("role", problems);
    let found = ROLES.iter().find(|(name, _)| role.eq_ignore_ascii_case(name));
    if found.is_none() && !role.is_empty() {
        problems.add(&body.path("role"), "must be one of [viewer, editor]");
    }
    found.map(|(_, policy)| *policy)
}

/// What a user has, with other policies in one account. What holds in all accounts or in the organization stays.
fn with_account(held: Vec<UserPolicy>, account: &str, policies: &[String]) -> Vec<PolicyGrant> {
    let mut changed = Vec::with_capacity(held.len());
    for mut policy in held {
        let had = policy.account_ids.len();
        policy.account_ids.retain(|a| a != account);
        // One without accounts holds everywhere: that is not what is left of this account's.
        if had == 0 || !policy.account_ids.is_empty() {
            changed.push(PolicyGrant {
                policy_id: policy.policy_id,
                account_ids: policy.account_ids,
            });
        }
    }
    for policy in policies {
        let everywhere = changed.iter().any(|g| {
            g.policy_id == *policy && (g.account_ids.is_empty() || g.account_ids.iter().any(|a| a == "*"))
        });
        if !everywhere {
            PolicyGrant::add(&mut changed, policy, account);
        }
    }
    changed
}

/// Whether a user has anything in that very account.
fn is_mapped(held: &[UserPolicy], account: &str) -> bool {
    held.iter().any(|p| p.account_ids.iter().any(|a| a == account))
}

/// Replaces what a user has in an account.
async fn set(conn: &mut Connection, user: &str, account: &str, policies: &[String]) -> Result<(), ApiError> {
    let held = access::grants(&mut *conn, Subject::User(user)).await?;
    let wanted = with_account(held, account, policies);
    access::set_grants(&mut *conn, Subject::User(user), &wanted).await?;
    users::require_administrator(conn).await?;
    Ok(())
}

/// Adds a console user to an account, or gives it another role, or other policies, there.
async fn set_role(call: &super::AuthorizedRequest, bytes: &Bytes, is_new: bool) -> Outcome {
    let account = call.id();
    let wanted = Object::read(bytes, |body, problems| {
        read_mapping(body, Some(account), problems)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::Account.require(&mut tx, account).await?;
    let user = wanted.user.find(&mut tx, "").await?;
    let held = access::grants(&mut tx, Subject::User(&user)).await?;
    match (is_new, is_mapped(&held, account)) {
        (true, true) => {
            let message = format!("The user is in account {account} already; PUT changes the role");
            return Err(ApiError::Conflict("USER_IN_ACCOUNT", message));
        }
        (false, false) => return Err(not_mapped(account)),
        _ => {}
    }
    wanted.require_policies(&mut tx).await?;
    set(&mut tx, &user, account, &wanted.policies).await?;
    call.done(tx, &user).await
}

fn not_mapped(account: &str) -> ApiError {
    let message = format!("The user is not in account {account}");
    ApiError::Conflict("USER_NOT_IN_ACCOUNT", message)
}

pub(super) async fn add(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    set_role(&call, &bytes, true).await
}

pub(super) async fn change(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    set_role(&call, &bytes, false).await
}

/// Takes a console user out of an account.
pub(super) async fn remove(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let named = Object::read(&bytes, Named::read)?;
    let (call, mut tx) = call.begin().await?;
    let account = call.id();
    Resource::Account.require(&mut tx, account).await?;
    let user = named.find(&mut tx, "").await?;
    let held = access::grants(&mut tx, Subject::User(&user)).await?;
    if !is_mapped(&held, account) {
        return Err(not_mapped(account));
    }
    set(&mut tx, &user, account, &[]).await?;
    call.done(tx, &user).await
}

/// What one console user has, account by account.
pub(super) async fn list(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Outcome {
    let email = query.get("userEmail").map(|e| e.trim()).unwrap_or_default();
    if email.is_empty() {
        return Err(invalid("query.userEmail", "is required"));
    }
    let mut tx = app.store.read().await?;
    let user = Named::Email(email.to_owned()).find(&mut tx, "query.").await?;
    let email = users::email(&mut tx, &user).await?.unwrap_or_default();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for policy in access::grants(&mut tx, Subject::User(&user)).await? {
        for account in policy.account_ids {
            match found.iter_mut().find(|(a, _)| *a == account) {
                Some((_, policies)) => policies.push(policy.policy_id.clone()),
                None => found.push((account, vec![policy.policy_id.clone()])),
            }
        }
    }
    let item = |(account, policies): (String, Vec<String>)| show(&user, &email, &account, &policies);
    Ok(Answer::Items(KIND, found.into_iter().map(item).collect()))
}

fn show(user: &str, email: &str, account: &str, policies: &[String]) -> Value {
    let mut item = json!({"userId": user, "userEmail": email, "accountId": account});
    let role = ROLES
        .iter()
        .find(|(_, policy)| policies == [(*policy).to_owned()]);
    if let Some((role, _)) = role {
        item["permissionStrategy"] = json!("ROLE_BASED");
        item["role"] = json!(role);
    } else {
        item["permissionStrategy"] = json!("POLICY_BASED");
        item["policyIds"] = json!(policies);
    }
    item
}

/// Sets what several console users have in several accounts: all of it or nothing.
pub(super) async fn assign(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let wanted = Object::read(&bytes, |body, problems| {
        let entries = body.objects("mappings", problems);
        if entries.is_empty() {
            problems.add("mappings", "must contain at least 1 items");
        }
        let read = |entry| read_mapping(entry, None, problems);
        entries.iter().map(read).collect::<Vec<_>>()
    })?;
    let (call, mut tx) = call.begin().await?;
    for mapping in &wanted {
        let place = &mapping.place;
        let user = mapping.user.find(&mut tx, place).await?;
        let field = format!("{place}accountId");
        Resource::Account
            .require_in(&mut tx, &mapping.account, &field)
            .await?;
        mapping.require_policies(&mut tx).await?;
        set(&mut tx, &user, &mapping.account, &mapping.policies).await?;
        call.record_in(&mut tx, &mapping.account, &user).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

/// Reads one; the account is the one of the path, where that has one.
fn read_mapping(body: &Object, account: Option<&str>, problems: &mut Problems) -> Mapping {
    body.only(MAPPING, problems);
    let user = Named::read(body, problems);
    let sent = body.value("accountId");
    if account.is_some_and(|account| sent.is_some_and(|sent| sent != account)) {
        problems.add(&body.path("accountId"), "must be the account of the path");
    }
    let account = account.map_or_else(|| body.required("accountId", problems), str::to_owned);
    let strategy = body.text("permissionStrategy", problems);
    let policies = match strategy.as_deref() {
        None | Some("ROLE_BASED") => read_role(body, problems).map(str::to_owned).into_iter().collect(),
        Some("POLICY_BASED") => {
            let policies = body.texts("policyIds", problems);
            if policies.is_empty() {
                problems.add(&body.path("policyIds"), "must contain at least 1 items");
            }
            policies
        }
        Some(_) => {
            problems.add(
                &body.path("permissionStrategy"),
                "must be one of [ROLE_BASED, POLICY_BASED]",
            );
            Vec::new()
        }
    };
    Mapping {
        place: body.path(""),
        user,
        account,
        policies,
    }
}

#[cfg(test)]
mod tests {
    use super::with_account;
    use platform_api::{PolicyGrant, UserPolicy};

    fn held(policies: &[(&str, &[&str])]) -> Vec<UserPolicy> {
        let policy = |(id, accounts): &(&str, &[&str])| UserPolicy {
            policy_id: (*id).to_owned(),
            policy_name: String::new(),
            policy_type: String::new(),
            account_ids: accounts.iter().map(|a| (*a).to_owned()).collect(),
        };
        policies.iter().map(policy).collect()
    }

    #[test]
    fn only_the_one_account_changes() {
        let before = held(&[
            ("3", &["act-a", "act-b"]),
            ("8", &[]),
            ("5", &["*"]),
            ("2", &["act-a"]),
        ]);
        let after = with_account(before, "act-a", &["2".to_owned(), "5".to_owned()]);
        let grant = |id: &str, accounts: &[&str]| PolicyGrant {
            policy_id: id.to_owned(),
            account_ids: accounts.iter().map(|a| (*a).to_owned()).collect(),
        };
        let expected = [
            grant("3", &["act-b"]),
            grant("8", &[]),
            grant("5", &["*"]),
            grant("2", &["act-a"]),
        ];
        assert_eq!(after, expected);
    }
}
