//! The first start: organization, accounts, built-in policies, and the first administrator.

use super::store::access::Subject;
use super::store::accounts::Organization;
use super::store::batch::Batch;
use super::store::{self, Store, access, accounts, audit, credentials, sign_in, users};
use super::{Error, Password, PlatformConfig, catalog, secret};
use crate::reply::ApiError;
use crate::validate::check_email;
use platform_api::{PolicyGrant, Token, UserType};

const SHORTEST_PASSWORD: usize = 8;

/// Results of the first start. The secrets in it exist nowhere else.
pub struct FirstStart {
    /// 12 digits.
    pub organization_id: String,
    /// Ids and names of the accounts.
    pub accounts: Vec<(String, String)>,
    /// The administrator's login.
    pub admin_email: String,
    /// Only if it was generated.
    pub admin_password: Option<Password>,
    /// Only if it was generated.
    pub admin_token: Option<Token>,
}

/// Creates the organization if it is missing, all of it or nothing.
pub(super) async fn bootstrap(
    store: &Store,
    config: &PlatformConfig,
) -> Result<(Organization, Option<FirstStart>), Error> {
    let mut tx = store.write().await?;
    if let Some(organization) = accounts::organization(&mut tx).await? {
        return Ok((organization, None));
    }
    let made = populate(&mut tx, config).await?;
    tx.commit().await?;
    let organization = Organization {
        id: made.organization_id.clone(),
        name: config.organization_name.clone(),
    };
    tracing::info!(
        organization = organization.id,
        "first start: the organization was made"
    );
    Ok((organization, Some(made)))
}

async fn populate(tx: &mut store::Transaction, config: &PlatformConfig) -> Result<FirstStart, Error> {
    check(config)?;
    let digits = u64::from_be_bytes(secret::random::<8>()?) % 900_000_000_000 + 100_000_000_000;
    let organization_id = digits.to_string();
    sqlx::query("INSERT INTO organization (id, name, created_at) VALUES ($1, $2, $3)")
        .bind(&organization_id)
        .bind(&config.organization_name)
        .bind(store::now())
        .execute(&mut **tx)
        .await?;
    let mut made_accounts = Vec::with_capacity(config.accounts.len());
    for seed in &config.accounts {
        let id = accounts::create(tx, seed.id.as_deref(), &seed.name)
            .await
            .map_err(unwrap)?;
        made_accounts.push((id, seed.name.clone()));
    }
    for policy in &catalog::BUILT_IN {
        let content = policy.content();
        let (name, description) = (policy.name, Some(policy.description));
        access::create_policy(
            tx,
            Some(policy.id),
            name,
            description,
            policy.policy_type,
            &content,
        )
        .await
        .map_err(unwrap)?;
    }
    let mut batch = Batch::default();
    let (admin_password, admin_token) = create_administrator(tx, &mut batch, config).await?;
    let event = audit::Event::of_system("createOrganization", "organization", &organization_id);
    audit::add(&mut batch, &event);
    batch.execute(tx).await?;
    Ok(FirstStart {
        organization_id,
        accounts: made_accounts,
        admin_email: config.admin_email.clone(),
        admin_password,
        admin_token,
    })
}

/// Creates the first administrator; the secrets that were generated for it.
async fn create_administrator(
    tx: &mut store::Transaction,
    batch: &mut Batch,
    config: &PlatformConfig,
) -> Result<(Option<Password>, Option<Token>), Error> {
    let email = Some(config.admin_email.as_str());
    let admin = users::create(tx, batch, UserType::Personal, "admin", None, email)
        .await
        .map_err(unwrap)?;
    let grant = PolicyGrant {
        policy_id: catalog::ADMIN.to_owned(),
        account_ids: vec!["*".to_owned()],
    };
    access::give(batch, Subject::User(&admin), &[grant]);

    let admin_password = match &config.admin_password {
        Some(_) => None,
        None => Some(Password::new(secret::random_hex::<12>()?)),
    };
    let password = config.admin_password.as_ref().or(admin_password.as_ref());
    let hash = secret::hash_password(password.map_or("", Password::expose))?;
    sign_in::set_password(batch, &admin, &hash);
    let admin_token = match &config.admin_token {
        Some(_) => None,
        None => Some(credentials::generate().map_err(unwrap)?),
    };
    if let Some(token) = config.admin_token.as_ref().or(admin_token.as_ref()) {
        credentials::add(batch, &admin, "admin", token);
    }
    Ok((admin_password, admin_token))
}

fn check(config: &PlatformConfig) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Settings(what.to_owned()));
    if config.accounts.is_empty() {
        return wrong("at least one account is needed");
    }
    let well_formed = |id: &str| {
        id.strip_prefix("act-")
            .is_some_and(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    for (index, seed) in config.accounts.iter().enumerate() {
        let Some(id) = &seed.id else { continue };
        if !well_formed(id) {
            return wrong("an account id is act- followed by letters and digits");
        }
        if config.accounts[..index]
            .iter()
            .any(|other| other.id.as_ref() == Some(id))
        {
            return wrong("an account id is given twice");
        }
    }
    if let Err(what) = check_email(&config.admin_email) {
        return wrong(&format!("the administrator's e-mail address {what}"));
    }
    if config
        .admin_password
        .as_ref()
        .is_some_and(|p| p.expose().chars().count() < SHORTEST_PASSWORD)
    {
        return wrong("the administrator's password is shorter than 8 characters");
    }
    if config.admin_token.as_ref().is_some_and(|t| !is_token(t.expose())) {
        return wrong("the administrator's token is not 64 hexadecimal digits in lower case");
    }
    Ok(())
}

/// Of the form that all tokens have: what is kept out of log and audit is known by it.
fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The store speaks in request errors; on start there is no request.
fn unwrap(error: ApiError) -> Error {
    match error {
        ApiError::Store(source) => Error::Store(source),
        other => Error::Settings(other.to_string()),
    }
}
