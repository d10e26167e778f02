//! This installation's id: part of the marker of every user that it makes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use rand::Rng as _;

use super::error::describe;
use crate::plan::{INSTANCE_LEN, base32, is_instance};

/// The Secret, in the operator's namespace, that keeps the id.
const NAME: &str = "programmatic-users-instance";
const KEY: &str = "instance-id";

/// Reads the id, or makes one at the very first start. Create-only: of two that start at once, one wins.
pub(super) async fn get(client: &Client, namespace: &str) -> Result<String, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed =
        |doing: &str, e: &kube::Error| format!("cannot {doing} Secret {namespace}/{NAME}: {}", describe(e));
    if let Some(found) = secrets.get_opt(NAME).await.map_err(|e| failed("read", &e))? {
        return id_of(&found).ok_or_else(|| {
            format!("Secret {namespace}/{NAME} has no {KEY}: restore it from a backup, or give --instance-id")
        });
    }
    let mut bytes = [0u8; 4];
    rand::rng().fill_bytes(&mut bytes);
    let id = base32(&bytes, INSTANCE_LEN);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            KEY.to_owned(),
            ByteString(id.clone().into_bytes()),
        )])),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(id),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = secrets.get(NAME).await.map_err(|e| failed("read", &e))?;
            id_of(&found).ok_or_else(|| format!("Secret {namespace}/{NAME} has no {KEY}"))
        }
        Err(error) => Err(failed("create", &error)),
    }
}

fn id_of(secret: &Secret) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(KEY)?;
    let id = String::from_utf8(bytes.0.clone()).ok()?;
    is_instance(&id).then_some(id)
}
