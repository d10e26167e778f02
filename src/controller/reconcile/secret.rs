//! The Secret as it is read and written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use crate::api::{
    DIGEST_ANNOTATION, MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ProgrammaticUser, STAGED_FOR_ANNOTATION,
    STAGING_LABEL, SecretValue, USER_ID_ANNOTATION,
};
use crate::plan;
use crate::plan::{Fence, OwnSecret, SecretDraft, SecretView, Staged, base32};

/// Key of the token in a staging Secret.
pub(in crate::controller) const STAGED_KEY: &str = "token";
/// In place of a token in a fence: a container whose environment would hold a NUL byte cannot be started.
const NO_TOKEN: &[u8] = b"\0no token yet";

/// Whose the Secret is.
pub(in crate::controller) fn view(secret: Option<&Secret>, user: &ProgrammaticUser) -> SecretView {
    let Some(secret) = secret else {
        return SecretView::Absent;
    };
    match owner(secret) {
        Some(owner) if Some(&owner.uid) == user.metadata.uid.as_ref() => SecretView::Ours(own(secret)),
        Some(owner) => SecretView::Foreign(format!("belongs to {} {}", owner.kind, owner.name)),
        None => SecretView::Foreign("exists and was not made for this object".to_owned()),
    }
}

/// The object that controls the Secret, of which the metadata are enough.
pub(in crate::controller) fn owner(secret: &impl Resource) -> Option<&OwnerReference> {
    let owners = secret.owner_references();
    owners.iter().find(|o| o.controller == Some(true))
}

/// What counts of a Secret of ours: of its data, only whether they are as they were written.
pub(in crate::controller) fn own(secret: &Secret) -> OwnSecret {
    OwnSecret {
        name: secret.name_any(),
        resource_version: secret.resource_version().unwrap_or_default(),
        uid: secret.uid().unwrap_or_default(),
        nonce: secret.annotations().get(NONCE_ANNOTATION).cloned(),
        user_id: secret.annotations().get(USER_ID_ANNOTATION).cloned(),
        unedited: is_unedited(secret),
        immutable: secret.immutable == Some(true),
        changed: written(&secret.metadata),
    }
}

/// When the operator last wrote this object, by the API server's clock.
pub(in crate::controller) fn written(metadata: &ObjectMeta) -> Option<Timestamp> {
    let fields = metadata.managed_fields.iter().flatten();
    let ours = fields.filter(|f| f.manager.as_deref() == Some(MANAGER));
    ours.filter_map(|f| f.time.as_ref().map(|time| time.0)).max()
}

/// Token, user id and attempt go into one object, and so into one write. An error is a sentence without the token.
pub(in crate::controller) fn build(
    user: &ProgrammaticUser,
    draft: &SecretDraft,
    token: &str,
) -> Result<Secret, String> {
    let files = plan::render(&draft.template, &draft.values, token)?;
    let value = |of: &SecretValue| match of {
        SecretValue::Token => token.to_owned(),
        other => draft.values.get(other).cloned().unwrap_or_default(),
    };
    let plain = draft.layout.iter().map(|(key, of)| (key.clone(), value(of)));
    let data: BTreeMap<_, _> = files
        .into_iter()
        .chain(plain)
        .map(|(key, text)| (key, ByteString(text.into_bytes())))
        .collect();
    let mut annotations = draft.template.annotations.clone();
    annotations.extend(draft.annotations.clone());
    annotations.insert(DIGEST_ANNOTATION.to_owned(), digest(&data));
    let mut labels = draft.template.labels.clone();
    labels.extend(managed());
    let mut secret = owned(user, &draft.name, data);
    secret.metadata.resource_version.clone_from(&draft.replace);
    secret.metadata.annotations = Some(annotations);
    secret.metadata.labels = Some(labels);
    Ok(secret)
}

/// A Secret in place of one that must not be created any more.
pub(in crate::controller) fn fence(user: &ProgrammaticUser, fence: &Fence) -> Secret {
    let value = || ByteString(NO_TOKEN.to_vec());
    let data = fence.keys.iter().map(|key| (key.clone(), value())).collect();
    owned(user, &fence.name, data)
}

fn owned(user: &ProgrammaticUser, name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: user.namespace(),
            labels: Some(managed()),
            owner_references: user.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn managed() -> BTreeMap<String, String> {
    BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())])
}

/// Name of the Secret that an attempt's token is staged in; nonces are never used twice.
pub(in crate::controller) fn staging_name(nonce: &str) -> String {
    format!("programmatic-users-staging-{nonce}")
}

/// A token in the operator's own namespace.
pub(in crate::controller) fn staging(
    user: &ProgrammaticUser,
    nonce: &str,
    user_id: &str,
    token: &str,
) -> Secret {
    let mut secret = bar(user, nonce);
    secret
        .annotations_mut()
        .insert(USER_ID_ANNOTATION.to_owned(), user_id.to_owned());
    let token = ByteString(token.as_bytes().to_vec());
    secret.data = Some(BTreeMap::from([(STAGED_KEY.to_owned(), token)]));
    secret
}

/// A Secret in the place where the token of an attempt would be staged.
pub(in crate::controller) fn bar(user: &ProgrammaticUser, nonce: &str) -> Secret {
    let mut labels = managed();
    labels.insert(STAGING_LABEL.to_owned(), user.uid().unwrap_or_default());
    Secret {
        metadata: ObjectMeta {
            name: Some(staging_name(nonce)),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([
                (NONCE_ANNOTATION.to_owned(), nonce.to_owned()),
                (
                    STAGED_FOR_ANNOTATION.to_owned(),
                    format!("{}/{}", user.namespace().unwrap_or_default(), user.name_any()),
                ),
            ])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// What is staged for this object, if `secret` is that.
pub(in crate::controller) fn staged(secret: &Secret, user: &ProgrammaticUser) -> Option<Staged> {
    let meant_for = secret.labels().get(STAGING_LABEL)?;
    (Some(meant_for) == user.metadata.uid.as_ref()).then_some(())?;
    Some(Staged {
        name: secret.name_any(),
        uid: secret.uid().unwrap_or_default(),
        nonce: secret.annotations().get(NONCE_ANNOTATION)?.clone(),
        user_id: secret.annotations().get(USER_ID_ANNOTATION).cloned(),
    })
}

/// The keys that the operator wrote, and a digest of their values. Tokens are random and long, so that no reader finds
/// one by its digest.
fn digest(data: &BTreeMap<String, ByteString>) -> String {
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    let mut hasher = Sha256::new();
    for (key, value) in data {
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update((value.0.len() as u64).to_be_bytes());
        hasher.update(&value.0);
    }
    format!("{}:{}", keys.join(","), base32(&hasher.finalize(), 16))
}

/// Whether the values that the operator wrote are still the same; keys that others added do not count.
fn is_unedited(secret: &Secret) -> bool {
    let Some(written) = secret.annotations().get(DIGEST_ANNOTATION) else {
        return false;
    };
    let keys = written.split_once(':').map_or("", |(keys, _)| keys);
    let data = secret.data.iter().flatten();
    let ours = data.filter(|(key, _)| keys.split(',').any(|k| k == key.as_str()));
    digest(&ours.map(|(k, v)| (k.clone(), v.clone())).collect()) == *written
}

/// Whether `found` is what `draft` was to become: of this object, with this attempt and this user.
pub(in crate::controller) fn carries(found: &Secret, user: &ProgrammaticUser, draft: &SecretDraft) -> bool {
    let SecretView::Ours(own) = view(Some(found), user) else {
        return false;
    };
    let same =
        |value: &Option<String>, key: &str| value.is_some() && value.as_ref() == draft.annotations.get(key);
    same(&own.nonce, NONCE_ANNOTATION) && same(&own.user_id, USER_ID_ANNOTATION)
}
