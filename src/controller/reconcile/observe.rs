//! IO in: what a reconcile starts from.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::ObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::controller::context::{Context, fresh_nonce};
use crate::controller::error::Error;
use crate::controller::reconcile::secret::{staged, staging_name, view};
use crate::controller::watch::readable::Readable;
use crate::plan;
use crate::plan::{Answers, Observed, OwnSecret, SecretView, Staged};

/// Reads the object and then its Secret from the API server, in this order: the Secret seen is never older than
/// the journal seen. `None`: the object is gone, or another installation looks after its organization.
pub(in crate::controller) async fn observe(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Observed>, Error> {
    // Of users that the journal does not know, only a list from before can tell.
    let asked = Instant::now();
    let users: Api<Readable> = Api::namespaced(context.client.clone(), namespace);
    let Some(Readable { user, unreadable }) = users
        .get_opt(name)
        .await
        .map_err(Error::from_kube("read the ProgrammaticUser"))?
    else {
        context.workload_index.remove(namespace, name);
        return Ok(None);
    };
    let Some(setting) = read_configuration(context, &user, &mut Namespaces::default()).await? else {
        return Ok(None);
    };
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let (current_name, target_name) = secret_names(&user);
    let read = async |name: &str| {
        // It goes with its namespace, and so may the right to read it.
        if setting.namespace_ends {
            return Ok(SecretView::Absent);
        }
        let found = secrets.get_opt(name).await;
        let found = found.map_err(Error::from_kube("read the Secret"))?;
        Ok::<_, Error>(view(found.as_ref(), &user))
    };
    let target = read(&target_name).await?;
    let secret = if current_name == target_name {
        target.clone()
    } else {
        read(&current_name).await?
    };
    let uid = user.metadata.uid.as_deref().unwrap_or_default();
    let check = context.objects.records.take_full_check(uid);
    let secrets = Secrets { secret, target };
    let mut observed = complete(context, user, setting, secrets, asked, check).await?;
    observed.unreadable = unreadable;
    Ok(Some(observed))
}

/// The same of an object and of its Secret as lists have shown them. `asked` is a moment before the list of objects was asked
/// for, and that of the Secrets was asked for after it had begun: here, too, the Secret is never older than the journal.
/// A caller that keeps `namespaces` relies on the watch of their labels for later changes.
pub(in crate::controller) async fn observe_listed(
    context: &Context,
    user: ProgrammaticUser,
    secret: OwnSecret,
    asked: Instant,
    namespaces: &mut Namespaces,
) -> Result<Option<Observed>, Error> {
    let Some(setting) = read_configuration(context, &user, namespaces).await? else {
        return Ok(None);
    };
    let secrets = Secrets {
        secret: SecretView::Ours(secret.clone()),
        target: SecretView::Ours(secret),
    };
    // An object whose full check is due is reconciled for that.
    complete(context, user, setting, secrets, asked, false)
        .await
        .map(Some)
}

/// Name of the Secret that carries the token, if there is just this one.
pub(in crate::controller) fn only_secret_name(user: &ProgrammaticUser) -> Option<String> {
    let (current, target) = secret_names(user);
    (current == target).then_some(current)
}

/// What an object is judged by, besides itself and its Secrets.
struct Configuration {
    class: Option<Arc<ProgrammaticUserClass>>,
    organization: Option<Arc<Organization>>,
    namespace_labels: BTreeMap<String, String>,
    namespace_ends: bool,
}

/// The existing user's Secret, and the one that a new user's token goes into.
struct Secrets {
    secret: SecretView,
    target: SecretView,
}

/// Metadata of namespaces that were asked for.
#[derive(Default)]
pub(in crate::controller) struct Namespaces(HashMap<String, ObjectMeta>);

impl Namespaces {
    async fn get(&mut self, context: &Context, name: &str) -> Result<ObjectMeta, Error> {
        if let Some(known) = self.0.get(name) {
            return Ok(known.clone());
        }
        let api: Api<Namespace> = Api::all(context.client.clone());
        let found = api.get_opt(name).await;
        let found = found.map_err(Error::from_kube("read the Namespace"))?;
        let metadata = found.map(|n| n.metadata).unwrap_or_default();
        self.0.insert(name.to_owned(), metadata.clone());
        Ok(metadata)
    }
}

/// `None`: another installation looks after its organization.
async fn read_configuration(
    context: &Context,
    user: &ProgrammaticUser,
    namespaces: &mut Namespaces,
) -> Result<Option<Configuration>, Error> {
    let class = match context.class(&user.spec.class_name) {
        Ok(None) => {
            read_if_not_cached(context, &user.spec.class_name, "read the ProgrammaticUserClass").await?
        }
        // A class that cannot be read keeps no user from being deleted, and lets none stay.
        Err(_) if user.metadata.deletion_timestamp.is_some() => None,
        known => known?,
    };
    // Once there may be a user, only the organization that it lives in may be asked about it.
    let begun = user
        .status
        .as_ref()
        .filter(|s| !s.journal.is_empty())
        .and_then(|s| s.organization_name.as_deref());
    let organization = begun.or_else(|| class.as_ref().map(|c| c.spec.organization_name.as_str()));
    if organization.is_some_and(|name| !context.manages(name)) {
        return Ok(None);
    }
    let organization = match organization {
        None => None,
        Some(name) => match context.organization(name)? {
            None => read_if_not_cached(context, name, "read the Organization").await?,
            known => known,
        },
    };
    let by_labels = class
        .as_ref()
        .is_some_and(|c| !c.spec.namespaces.match_labels.is_empty());
    let goes = user.metadata.deletion_timestamp.is_some();
    let namespace_is = if by_labels || goes {
        namespaces
            .get(context, &user.namespace().unwrap_or_default())
            .await?
    } else {
        ObjectMeta::default()
    };
    Ok(Some(Configuration {
        class,
        organization,
        namespace_ends: goes && namespace_is.deletion_timestamp.is_some(),
        namespace_labels: namespace_is.labels.unwrap_or_default(),
    }))
}

/// All that is observed, with what this process knows of the object.
async fn complete(
    context: &Context,
    user: ProgrammaticUser,
    setting: Configuration,
    secrets: Secrets,
    asked: Instant,
    check: bool,
) -> Result<Observed, Error> {
    let status = user.status.clone().unwrap_or_default();
    let max = setting
        .class
        .as_ref()
        .and_then(|c| c.spec.max_users_per_namespace);
    let max = max
        .filter(|_| status.journal.is_empty())
        .and_then(|max| usize::try_from(max).ok());
    let abandoned = status.journal.abandoned.iter().map(|a| &a.nonce);
    let (settled, settles_in) = context.objects.records.expired_attempts(
        user.metadata.uid.as_deref().unwrap_or_default(),
        abandoned,
        context.settle(),
    );
    Ok(Observed {
        namespace_labels: setting.namespace_labels,
        namespace_ends: setting.namespace_ends,
        quota_used: max.map_or(0, |max| context.quota_used(&user, max)),
        current_secret: secrets.secret,
        next_secret: secrets.target,
        staged: staging(context, &user).await?,
        consumers: context.workload_index.of(&user),
        unreadable: None,
        intact: plan::checksum_matches(&context.instance, &user),
        full_check: check,
        unknown_users: context.unknown_users(&user, asked),
        platform_now: context.platform_time(setting.organization.as_deref()),
        instance: context.instance.clone(),
        fresh_nonce: fresh_nonce(),
        expired_attempts: settled,
        next_expiry: settles_in,
        validated: None,
        answers: Answers::default(),
        class: setting.class,
        organization: setting.organization,
        user: Arc::new(user),
    })
}

/// Reads from the API server what the cache does not have: the watches show a class and its users in any order, and a user that
/// was applied together with its class must not report that the class does not exist.
async fn read_if_not_cached<K>(
    context: &Context,
    name: &str,
    doing: &'static str,
) -> Result<Option<Arc<K>>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = Api::<K>::all(context.client.clone()).get_opt(name).await;
    Ok(found.map_err(Error::from_kube(doing))?.map(Arc::new))
}

/// The Secret of the existing user, and the one that a new user's token goes into.
fn secret_names(user: &ProgrammaticUser) -> (String, String) {
    let asked = user.spec.secret.name.clone().unwrap_or_else(|| user.name_any());
    let status = user.status.as_ref();
    let pending = status.and_then(|s| s.journal.pending.as_ref());
    let target = pending.map_or_else(|| asked, |p| p.secret_name.clone());
    let current = status.filter(|s| s.journal.current.is_some());
    let current = current.and_then(|s| s.secret_name.clone());
    (current.unwrap_or_else(|| target.clone()), target)
}

/// Staged tokens of attempts that are not at their end. Most objects have no such attempt, and nothing is read.
async fn staging(context: &Context, user: &ProgrammaticUser) -> Result<Vec<Staged>, Error> {
    let Some(journal) = user.status.as_ref().map(|s| &s.journal) else {
        return Ok(Vec::new());
    };
    let secrets = context.own_secrets();
    let pending = journal.pending.iter().map(|p| &p.nonce);
    let mut found = Vec::new();
    for nonce in pending.chain(journal.abandoned.iter().map(|a| &a.nonce)) {
        let secret = secrets
            .get_opt(&staging_name(nonce))
            .await
            .map_err(Error::from_kube("read the staged token"))?;
        found.extend(secret.and_then(|s| staged(&s, user)));
    }
    Ok(found)
}
