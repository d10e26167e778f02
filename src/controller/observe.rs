//! IO in: what a reconcile starts from.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};

use super::context::{Context, fresh_nonce};
use super::error::Error;
use super::secret::{staged, staging_name, view};
use crate::api::ProgrammaticUser;
use crate::plan::{self, Learned, Observed, SecretView, Staged};

/// Reads the object and then its Secret from the API server, in this order: the Secret seen is never older than
/// the journal seen. `None`: the object is gone, or another installation looks after its organization.
pub(super) async fn observe(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Observed>, Error> {
    // Of users that the journal does not know, only a list from before can tell.
    let asked = Instant::now();
    let users: Api<ProgrammaticUser> = Api::namespaced(context.client.clone(), namespace);
    let Some(user) = users
        .get_opt(name)
        .await
        .map_err(Error::from_kube("read the ProgrammaticUser"))?
    else {
        context.readers.forget(namespace, name);
        return Ok(None);
    };
    let status = user.status.clone().unwrap_or_default();
    let class = context.class(&user.spec.class_name)?;
    // Once there may be a user, only the organization that it lives in may be asked about it.
    let begun = status
        .organization_name
        .as_deref()
        .filter(|_| !status.journal.is_empty());
    let organization = begun.or_else(|| class.as_ref().map(|c| c.spec.organization_name.as_str()));
    if organization.is_some_and(|name| !context.looks_after(name)) {
        return Ok(None);
    }
    let organization = organization.map_or(Ok(None), |name| context.organization(name))?;
    let by_labels = class
        .as_ref()
        .is_some_and(|c| !c.spec.namespaces.match_labels.is_empty());
    let goes = user.metadata.deletion_timestamp.is_some();
    let namespace_is = if by_labels || goes {
        metadata_of(context, namespace).await?
    } else {
        ObjectMeta::default()
    };
    let namespace_ends = goes && namespace_is.deletion_timestamp.is_some();
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let (current_name, target_name) = secret_names(&user);
    let read = async |name: &str| {
        // It goes with its namespace, and so may the right to read it.
        if namespace_ends {
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
    let max = class.as_ref().and_then(|c| c.spec.max_users_per_namespace);
    let max = max
        .filter(|_| status.journal.is_empty())
        .and_then(|max| usize::try_from(max).ok());
    let abandoned = status.journal.abandoned.iter().map(|a| &a.nonce);
    let uid = user.uid().unwrap_or_default();
    let (settled, settles_in) = context.settled(&uid, abandoned);
    Ok(Some(Observed {
        class,
        namespace_labels: namespace_is.labels.unwrap_or_default(),
        namespace_ends,
        siblings: max.map_or(0, |max| context.siblings(&user, max)),
        secret,
        target,
        staged: staging(context, &user).await?,
        consumers: context.readers.of(&user),
        intact: plan::is_intact(&context.instance, &user),
        check: context.take_check(&uid),
        strays: context.strays(&user, asked),
        platform_now: context.platform_time(organization.as_deref()),
        instance: context.instance.clone(),
        fresh_nonce: fresh_nonce(),
        settled,
        settles_in,
        learned: Learned::default(),
        organization,
        user: Arc::new(user),
    }))
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

async fn metadata_of(context: &Context, namespace: &str) -> Result<ObjectMeta, Error> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let found = namespaces
        .get_opt(namespace)
        .await
        .map_err(Error::from_kube("read the Namespace"))?;
    Ok(found.map(|n| n.metadata).unwrap_or_default())
}
