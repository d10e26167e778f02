//! The way back for whoever lost what the first start printed, or the last right: by the database, which only whoever runs
//! the platform can open.

use super::bootstrap::unwrap;
use super::store::access::{self, Subject};
use super::store::batch::Batch;
use super::store::{self, FILE, Store, accounts, audit, callers, credentials, sign_in, users};
use super::validate::check_email;
use super::{Database, Error, Password, authz, catalog, secret};
use crate::platform::{PolicyGrant, Token, UserType};

/// What [`recover_admin`] made. The secrets in it exist nowhere else.
pub struct Recovered {
    /// Whose they are.
    pub user_id: String,
    /// With what the user signs in to the console.
    pub password: Password,
    /// If it was asked for.
    pub token: Option<Token>,
}

/// Gives the console user with this address a new password, ends its sessions, and makes it an organization admin if it is
/// none: its policies and groups are left as they are otherwise. Where there is no such user it is made. With `token` all
/// its tokens end and it gets a new one; otherwise they stay. All of it happens or nothing, and a platform may be running
/// on the database.
///
/// # Errors
/// If there is no database, if no platform ever started on it, if the address is none, or if the database fails.
pub async fn recover_admin(database: &Database, email: &str, token: bool) -> Result<Recovered, Error> {
    check_email(email).map_err(|what| Error::Recovery(format!("the e-mail address {what}")))?;
    if let Database::Directory(directory) = database {
        let file = directory.join(FILE);
        if !file.is_file() {
            return Err(Error::Recovery(format!("there is no {}", file.display())));
        }
    }
    let store = Store::open(database).await?;
    let recovered = recover(&store, email, token).await;
    store.close().await;
    recovered
}

async fn recover(store: &Store, email: &str, with_token: bool) -> Result<Recovered, Error> {
    let password = Password::new(secret::random_hex::<12>()?);
    let hash = secret::hash_password(password.expose())?;
    let mut tx = store.write().await?;
    if accounts::organization(&mut tx).await?.is_none() {
        let why = "no platform has started on this database yet: its first start makes an administrator";
        return Err(Error::Recovery(why.to_owned()));
    }
    let user_id = administrator(&mut tx, email).await?;
    let token = if with_token {
        credentials::revoke(&mut tx, &user_id).await?;
        Some(credentials::generate().map_err(unwrap)?)
    } else {
        None
    };
    sign_in::succeeded(&mut tx, email).await?;
    let mut batch = Batch::default();
    sign_in::set_password(&mut batch, &user_id, &hash);
    sign_in::close_all(&mut batch, &user_id);
    if let Some(token) = &token {
        credentials::add(&mut batch, &user_id, "admin", token);
    }
    let event = audit::Event {
        actor_name: "system",
        actor_type: "system",
        source: "SYSTEM",
        agent: "programmatic-users",
        action: "recoverAdministrator",
        resource_type: "user",
        resource_id: Some(&user_id),
        result: "success",
        status: 200,
        ..audit::Event::default()
    };
    audit::add(&mut batch, &event);
    batch.execute(&mut tx).await?;
    tx.commit().await?;
    Ok(Recovered {
        user_id,
        password,
        token,
    })
}

/// The id of the user with this address, which administers the organization afterwards.
async fn administrator(tx: &mut store::Transaction, email: &str) -> Result<String, Error> {
    let user = match users::by_email(tx, email).await? {
        Some(id) => id,
        None => {
            let mut batch = Batch::default();
            let made = users::create(tx, &mut batch, UserType::Personal, "admin", None, Some(email));
            let id = made.await.map_err(unwrap)?;
            batch.execute(tx).await?;
            id
        }
    };
    let rights = callers::effective(tx, &user).await.map_err(unwrap)?;
    if !authz::administers(&rights.grants) {
        // Whatever denies it something would go on doing so.
        access::set_groups(tx, &user, &[]).await?;
        let grant = PolicyGrant {
            policy_id: catalog::ADMIN.to_owned(),
            account_ids: vec!["*".to_owned()],
        };
        access::set_grants(tx, Subject::User(&user), &[grant]).await?;
    }
    Ok(user)
}
