//! The Secret as it is read and written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use crate::api::{
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ProgrammaticUser, SecretValue, USER_ID_ANNOTATION,
};
use crate::plan::{OwnSecret, SecretDraft, SecretView};

/// Whose the Secret is.
pub(super) fn view(secret: Option<&Secret>, user: &ProgrammaticUser) -> SecretView {
    let Some(secret) = secret else {
        return SecretView::Absent;
    };
    let owner = secret
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true));
    match owner {
        Some(owner) if Some(&owner.uid) == user.metadata.uid.as_ref() => SecretView::Ours(OwnSecret {
            name: secret.name_any(),
            resource_version: secret.resource_version().unwrap_or_default(),
            uid: secret.uid().unwrap_or_default(),
            nonce: secret.annotations().get(NONCE_ANNOTATION).cloned(),
            user_id: secret.annotations().get(USER_ID_ANNOTATION).cloned(),
        }),
        Some(owner) => SecretView::Foreign(format!("belongs to {} {}", owner.kind, owner.name)),
        None => SecretView::Foreign("exists and was not made for this object".to_owned()),
    }
}

/// Token, user id and attempt go into one object, and so into one write.
pub(super) fn build(user: &ProgrammaticUser, draft: &SecretDraft, token: &str) -> Secret {
    let value = |value: &SecretValue| match value {
        SecretValue::Token => token.to_owned(),
        other => draft.values.get(other).cloned().unwrap_or_default(),
    };
    let data = draft
        .layout
        .iter()
        .map(|(key, v)| (key.clone(), ByteString(value(v).into_bytes())))
        .collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(draft.name.clone()),
            namespace: user.namespace(),
            resource_version: draft.replace.clone(),
            labels: Some(BTreeMap::from([(
                MANAGED_BY_LABEL.to_owned(),
                MANAGER.to_owned(),
            )])),
            annotations: Some(draft.annotations.clone()),
            owner_references: user.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// Whether `found` is what `draft` was to become: of this object, with this attempt and this user.
pub(super) fn carries(found: &Secret, user: &ProgrammaticUser, draft: &SecretDraft) -> bool {
    let SecretView::Ours(own) = view(Some(found), user) else {
        return false;
    };
    let same =
        |value: &Option<String>, key: &str| value.is_some() && value.as_ref() == draft.annotations.get(key);
    same(&own.nonce, NONCE_ANNOTATION) && same(&own.user_id, USER_ID_ANNOTATION)
}
