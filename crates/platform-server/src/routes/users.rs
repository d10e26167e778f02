//! Users of both kinds.

use std::collections::{HashMap, HashSet};

use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use serde::Serialize;
use serde_json::json;

use super::{Admitted, Outcome, grants};
use crate::auth::AuthorizedRequest;
use crate::hashing::Line;
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::store::access::Subject;
use crate::store::batch::Batch;
use crate::store::queue::is_overtaken;
use crate::store::{Connection, access, accounts, credentials, sign_in, users};
use crate::validate::{Object, Problems, invalid};
use crate::{App, catalog, secret};
use platform_api::{PolicyGrant, Token, UserSummary, UserType};

pub(super) async fn create_programmatic(
    State(app): State<App>,
    Extension(call): Admitted,
    bytes: Bytes,
) -> Outcome {
    let body = Object::parse(&bytes)?;
    let mut problems = Problems::default();
    let name = body.name("name", &mut problems);
    let description = body.text("description", &mut problems);
    let (by_role, by_policy) = (body.has("accounts"), body.has("policies"));
    let roles = read_roles(&body, &mut problems);
    let policies = grants::read(&body, "policies", &mut problems);
    match (by_role, by_policy) {
        (true, true) => problems.add("accounts", "conflicts with \"policies\": give one of them"),
        (false, false) => problems.add("accounts", "or \"policies\" is required"),
        (true, false) if roles.is_empty() => problems.add("accounts", "must contain at least 1 items"),
        (false, true) if policies.is_empty() => problems.add("policies", "must contain at least 1 items"),
        _ => {}
    }
    problems.check()?;

    let token = credentials::generate()?;
    let wanted = Wanted {
        name: &name,
        description: description.as_deref(),
        roles: by_role.then_some(roles.as_slice()),
        policies: &policies,
        token: &token,
    };
    let id = make(&app, &call, &wanted).await?;
    let item = json!({"token": token.expose(), "name": name, "id": id});
    Ok(Answer::one("spotinst:setup:programmaticUser", item))
}

struct Wanted<'a> {
    name: &'a str,
    description: Option<&'a str>,
    /// Account and policy of each role, if it is by role.
    roles: Option<&'a [(String, &'static str)]>,
    policies: &'a [PolicyGrant],
    token: &'a Token,
}

/// Creates the user. Many callers do this at once, so that it reads without the lock, and commits together with others.
async fn make(app: &App, call: &AuthorizedRequest, wanted: &Wanted<'_>) -> Result<String, ApiError> {
    let mut conn = app.store.acquire_reader().await?;
    let (id, mut batch) = plan(&mut conn, call, wanted).await?;
    drop(conn);
    call.require_unchanged(&mut batch);
    match app.store.commit(batch).await {
        // The caller, an account or a policy was deleted between read and commit, or another user got the id: read again, with
        // the lock.
        Err(error) if is_overtaken(&error) => {
            let (call, mut tx) = call.begin().await?;
            let (id, batch) = plan(&mut tx, &call, wanted).await?;
            batch.execute(&mut tx).await?;
            tx.commit().await?;
            Ok(id)
        }
        done => Ok(done.map(|()| id)?),
    }
}

/// Reads what the user depends on; its id, and the batch that creates it.
async fn plan(
    conn: &mut Connection,
    call: &AuthorizedRequest,
    wanted: &Wanted<'_>,
) -> Result<(String, Batch), ApiError> {
    let granted = if let Some(roles) = wanted.roles {
        let accounts: Vec<_> = roles.iter().map(|(account, _)| account.as_str()).collect();
        let field = |index| format!("accounts.{index}.id");
        Resource::Account.require_all(conn, &accounts, field).await?;
        from_roles(roles)
    } else {
        grants::check(&mut *conn, "policies", wanted.policies.to_vec()).await?
    };
    let mut batch = Batch::default();
    let (name, description) = (wanted.name, wanted.description);
    let user_type = UserType::Programmatic;
    let id = users::create(conn, &mut batch, user_type, name, description, None).await?;
    access::give(&mut batch, Subject::User(&id), &granted);
    credentials::add(&mut batch, &id, name, wanted.token);
    call.audit(&mut batch, &id);
    Ok((id, batch))
}

/// Account and built-in policy of each role.
fn read_roles(body: &Object, problems: &mut Problems) -> Vec<(String, &'static str)> {
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for entry in body.objects("accounts", problems) {
        entry.only(&["id", "role"], problems);
        let id = entry.required("id", problems);
        if !id.is_empty() && !seen.insert(id.clone()) {
            problems.add(&entry.path("id"), "contains a duplicate value");
        }
        let policy = match entry.required("role", problems).as_str() {
            "viewer" => catalog::ACCOUNT_VIEWER,
            "editor" => catalog::ACCOUNT_EDITOR,
            "" => continue,
            _ => {
                problems.add(&entry.path("role"), "must be one of [viewer, editor]");
                continue;
            }
        };
        found.push((id, policy));
    }
    found
}

/// The policies that roles become.
fn from_roles(roles: &[(String, &'static str)]) -> Vec<PolicyGrant> {
    let mut granted = Vec::new();
    for (account, policy) in roles {
        PolicyGrant::add(&mut granted, policy, account);
    }
    granted
}

pub(super) async fn create_personal(
    State(app): State<App>,
    Extension(call): Admitted,
    Query(query): Query<HashMap<String, String>>,
    bytes: Bytes,
) -> Outcome {
    let body = Object::parse(&bytes)?;
    let mut problems = Problems::default();
    let first = body.name("firstName", &mut problems);
    let last = body.name("lastName", &mut problems);
    let email = body.email("email", &mut problems);
    let password = body.password("password", &mut problems);
    let role = read_role(&body, &mut problems);
    problems.check()?;

    let turn = app.hashing.join(Line::Known)?;
    let hashing = app
        .hashing
        .hashed(turn, move || secret::hash_password(password.expose()));
    let hash = hashing.await??;
    let wants_token = |v: &&String| v.eq_ignore_ascii_case("true");
    let token = query.get("generateToken").filter(wants_token);
    let token = token.map(|_| credentials::generate()).transpose()?;
    let name = format!("{first} {last}");
    let (call, mut tx) = call.begin().await?;
    if users::by_email(&mut tx, &email).await?.is_some() {
        let message = "The e-mail address is in use";
        return Err(ApiError::Conflict("EMAIL_IN_USE", message.into()));
    }
    let mut batch = Batch::default();
    let email_too = Some(email.as_str());
    let id = users::create(&mut tx, &mut batch, UserType::Personal, &name, None, email_too).await?;
    sign_in::set_password(&mut batch, &id, &hash);
    if let Some(policy) = role {
        let account = query.get("accountId").map(String::as_str);
        let grant = first_grant(&mut tx, policy, account).await?;
        access::give(&mut batch, Subject::User(&id), &[grant]);
    }
    if let Some(token) = &token {
        credentials::add(&mut batch, &id, &name, token);
    }
    call.audit(&mut batch, &id);
    batch.execute(&mut tx).await?;
    let number = users::number(&mut tx, &id).await?;
    tx.commit().await?;
    let mut item = json!({
        // A number, from before users had ids of letters; the vendor has deprecated it.
        "id": number, "userId": id, "firstName": first, "lastName": last, "displayName": name, "email": email,
        // A number here, though accounts have a string: one client decodes nothing else.
        "organizationId": app.organization.id.parse::<i64>().unwrap_or_default(),
    });
    if let Some(token) = &token {
        item["personalAccessToken"] = json!(token.expose());
    }
    Ok(Answer::one("spotinst:setup:user", item))
}

/// The policy that a console user's role is; one without a role has nothing.
fn read_role(body: &Object, problems: &mut Problems) -> Option<&'static str> {
    let role = body.text("role", problems).unwrap_or_default().to_lowercase();
    match role.as_str() {
        "admin" => Some(catalog::ADMIN),
        "editor" => Some(catalog::ACCOUNT_EDITOR),
        "viewer" => Some(catalog::ACCOUNT_VIEWER),
        "" | "user" => None,
        _ => {
            problems.add("role", "must be one of [admin, editor, viewer, user]");
            None
        }
    }
}

/// That policy where it holds: an administrator's everywhere, the others in the account of the query, or the default one.
async fn first_grant(
    conn: &mut Connection,
    policy: &str,
    account: Option<&str>,
) -> Result<PolicyGrant, ApiError> {
    let account = match account.filter(|a| !a.is_empty()) {
        _ if policy == catalog::ADMIN => "*".to_owned(),
        Some(named) => {
            Resource::Account
                .require_in(conn, named, "query.accountId")
                .await?;
            named.to_owned()
        }
        None => {
            let default = accounts::list(conn).await?.into_iter().next();
            let none = || invalid("query.accountId", "is required");
            default.ok_or_else(none)?.account_id
        }
    };
    Ok(PolicyGrant {
        policy_id: policy.to_owned(),
        account_ids: vec![account],
    })
}

pub(super) async fn list(State(app): State<App>) -> Outcome {
    let mut tx = app.store.read().await?;
    Answer::list("spotinst:setup:organization:user", &users::list(&mut tx).await?)
}

/// The users with rights in one account, directly, by a group, or in all accounts; with those of their accounts in which the
/// caller has rights, too.
pub(super) async fn of_account(State(app): State<App>, Extension(call): Admitted) -> Outcome {
    let account = call.account()?;
    let mut tx = app.store.read().await?;
    let mut accounts = accounts::list(&mut tx).await?;
    accounts.retain(|a| call.sees(&a.account_id));
    let mut mapped = users::accounts(&mut tx).await?;
    let member = |user: UserSummary| {
        let theirs = mapped.remove(&user.user_id)?;
        let have = |account: &str| theirs.contains("*") || theirs.contains(account);
        have(account).then(|| UserOfAccount {
            mapped_account_ids: accounts
                .iter()
                .map(|a| a.account_id.clone())
                .filter(|id| have(id))
                .collect(),
            display_name: user.username.clone(),
            user,
        })
    };
    let members: Vec<_> = users::list(&mut tx)
        .await?
        .into_iter()
        .filter_map(member)
        .collect();
    Answer::list("spotinst:setup:user", &members)
}

/// What the list of users has, and what the published reply of this route has (its `userId` and `email` are the same).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserOfAccount {
    mapped_account_ids: Vec<String>,
    display_name: String,
    #[serde(flatten)]
    user: UserSummary,
}

pub(super) async fn details(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    let mut tx = app.store.read().await?;
    let user = users::details(&mut tx, &id)
        .await?
        .ok_or_else(|| Resource::User.missing(&id))?;
    Answer::list("spotinst:setup:access:user", &[user])
}

pub(super) async fn delete(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    if !users::delete(&mut tx, call.id()).await? {
        return Err(Resource::User.missing(call.id()));
    }
    users::require_administrator(&mut tx).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn map_policies(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let policies = Object::read(&bytes, |body, problems| {
        body.require("policies", problems);
        grants::read(body, "policies", problems)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::User.require(&mut tx, call.id()).await?;
    grants::replace(&mut tx, Subject::User(call.id()), policies).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn map_groups(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let groups = Object::read(&bytes, |body, problems| {
        body.require_unless_empty("userGroupIds", problems);
        body.texts("userGroupIds", problems)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::User.require(&mut tx, call.id()).await?;
    let ids: Vec<_> = groups.iter().map(String::as_str).collect();
    let field = |index| format!("userGroupIds.{index}");
    Resource::UserGroup.require_all(&mut tx, &ids, field).await?;
    access::set_groups(&mut tx, call.id(), &groups).await?;
    users::require_administrator(&mut tx).await?;
    call.done(tx, call.id()).await
}
