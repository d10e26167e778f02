//! This installation's id: part of the marker of every user that it makes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use rand::Rng as _;
use tokio::time::sleep;

use crate::controller::error::describe;
use crate::plan::{INSTANCE_LEN, base32, is_instance};

/// The Secret, in the operator's namespace, that keeps the id.
const NAME: &str = "programmatic-users-instance";
const KEY: &str = "instance-id";

/// Pause between two tries while the API server does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// Why there is no id.
struct Failure {
    message: String,
    /// The API server was not there; nothing has to be changed.
    passing: bool,
}

/// Reads the id, or makes one at the very first start. Waits for an API server that does not answer: to end and be
/// started again would not help.
pub(super) async fn get(client: &Client, namespace: &str) -> Result<String, String> {
    loop {
        match try_get(client, namespace).await {
            Ok(id) => return Ok(id),
            Err(Failure {
                message,
                passing: true,
            }) => {
                tracing::warn!(
                    error = message,
                    "no id of this installation yet; it is tried again"
                );
                sleep(PAUSE).await;
            }
            Err(failure) => return Err(failure.message),
        }
    }
}

/// Create-only: of two that start at once, one wins.
async fn try_get(client: &Client, namespace: &str) -> Result<String, Failure> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |doing: &str, e: &kube::Error| Failure {
        message: format!("cannot {doing} Secret {namespace}/{NAME}: {}", describe(e)),
        passing: match e {
            kube::Error::Api(status) => status.code >= 500 || status.code == 429,
            kube::Error::HyperError(_) | kube::Error::Service(_) => true,
            _ => false,
        },
    };
    let wrong = |message: String| Failure {
        message,
        passing: false,
    };
    if let Some(found) = secrets.get_opt(NAME).await.map_err(|e| failed("read", &e))? {
        return id_of(&found).ok_or_else(|| {
            wrong(format!(
                "Secret {namespace}/{NAME} has no {KEY}: restore it from a backup, or give --instance-id"
            ))
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
            id_of(&found).ok_or_else(|| wrong(format!("Secret {namespace}/{NAME} has no {KEY}")))
        }
        Err(error) => Err(failed("create", &error)),
    }
}

fn id_of(secret: &Secret) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(KEY)?;
    let id = String::from_utf8(bytes.0.clone()).ok()?;
    is_instance(&id).then_some(id)
}
