//! Recovery of the administrator, for a lost password, token or last right. It works on the database, which only the
//! operator of the platform can open.

use super::authz::{Effect, Grant};
use super::reply::ApiError;
use super::store::access::{self, Subject};
use super::store::batch::Batch;
use super::store::{self, Store, audit, callers, credentials, sign_in, users};
use super::{Database, Error, Password, authz, catalog, secret};
use platform_api::{PolicyGrant, Token};

/// Results of [`recover_admin`]. The secrets in it exist nowhere else.
pub struct Recovered {
    pub user_id: String,
    /// With what the user signs in to the console.
    pub password: Password,
    /// If it was asked for.
    pub token: Option<Token>,
}

/// Gives the console user with this address a new password, and ends its sessions. It administers the organization
/// afterwards: where it does not yet, it is given the built-in policy for that, and if its own policies or those of its groups
/// deny anything, they and the groups are taken away. With `token` all its tokens end and it gets a new one; otherwise they stay. All of
/// it happens or nothing, and a platform may be running on the database.
///
/// # Errors
/// If there is no database on which a platform of this release has started, if no user has that address, or if the database
/// fails.
pub async fn recover_admin(database: &Database, email: &str, token: bool) -> Result<Recovered, Error> {
    let store = Store::open_known(database).await?;
    let recovered = recover(&store, email, token).await;
    store.close().await;
    recovered
}

async fn recover(store: &Store, email: &str, with_token: bool) -> Result<Recovered, Error> {
    let password = Password::new(secret::random_hex::<12>()?);
    let hash = secret::hash_password(password.expose())?;
    let mut tx = store.write().await?;
    let Some(user_id) = users::by_email(&mut tx, email).await? else {
        let why = format!("no console user has the address {email}");
        return Err(Error::Recovery(why));
    };
    let mut batch = Batch::default();
    let done = |batch: &mut Batch, action: &str| {
        audit::add(batch, &audit::Event::of_system(action, "user", &user_id));
    };
    for action in administer(&mut tx, &user_id).await? {
        done(&mut batch, action);
    }
    sign_in::forgive(&mut tx, email).await?;
    sign_in::set_password(&mut batch, &user_id, &hash);
    sign_in::close_all(&mut batch, &user_id);
    done(&mut batch, "replacePassword");
    let mut token = None;
    if with_token {
        credentials::revoke(&mut tx, &user_id).await?;
        let made = credentials::generate().map_err(failed)?;
        credentials::add(&mut batch, &user_id, "admin", &made);
        done(&mut batch, "replaceTokens");
        token = Some(made);
    }
    batch.execute(&mut tx).await?;
    tx.commit().await?;
    Ok(Recovered {
        user_id,
        password,
        token,
    })
}

/// Makes the user an administrator, if it is none; returns the changes as the audit log names those of the routes.
async fn administer(tx: &mut store::Transaction, user: &str) -> Result<Vec<&'static str>, Error> {
    if administers(tx, user).await? {
        return Ok(Vec::new());
    }
    let administrator = PolicyGrant {
        policy_id: catalog::ADMIN.to_owned(),
        account_ids: vec!["*".to_owned()],
    };
    let held = access::grants(tx, Subject::User(user)).await?;
    let held = held.into_iter().map(|policy| PolicyGrant {
        policy_id: policy.policy_id,
        account_ids: policy.account_ids,
    });
    let others = held.filter(|grant| grant.policy_id != administrator.policy_id);
    let all: Vec<PolicyGrant> = others.chain([administrator.clone()]).collect();
    access::set_grants(tx, Subject::User(user), &all).await?;
    let mut changed = vec!["updateUserPoliciesMapping"];
    if is_denied_something(tx, user).await? {
        access::set_grants(tx, Subject::User(user), &[administrator]).await?;
        access::set_groups(tx, user, &[]).await?;
        changed.push("updateUserGroupMapping");
    }
    Ok(changed)
}

async fn administers(tx: &mut store::Transaction, user: &str) -> Result<bool, Error> {
    let grants = grants(tx, user).await?;
    Ok(grants.is_some_and(|all| authz::administers(&all)))
}

async fn is_denied_something(tx: &mut store::Transaction, user: &str) -> Result<bool, Error> {
    let denies = |grant: &Grant| grant.statements.iter().any(|s| s.effect == Effect::Deny);
    let grants = grants(tx, user).await?;
    Ok(grants.is_none_or(|all| all.iter().any(denies)))
}

/// All that the user has; `None`: there is a policy that cannot be read, which denies everything.
async fn grants(tx: &mut store::Transaction, user: &str) -> Result<Option<Vec<Grant>>, Error> {
    match callers::effective(tx, user).await {
        Ok(rights) => Ok(Some(rights.grants)),
        Err(ApiError::Internal(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The store speaks in request errors; here is no request.
fn failed(error: ApiError) -> Error {
    match error {
        ApiError::Store(source) => Error::Store(source),
        other => Error::Recovery(other.to_string()),
    }
}
