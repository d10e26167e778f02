//! The Secret as it is written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use super::observe::view;
use crate::api::{
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ProgrammaticUser, SecretValue, USER_ID_ANNOTATION,
};
use crate::plan::{SecretDraft, SecretView};

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
