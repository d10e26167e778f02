//! What the API server takes from a plain client: the same kinds of writes as the operator's, of the same sizes, by the
//! same account, as many at one time.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use programmatic_users::api::{FINALIZER, Pending, ProgrammaticUser, ProgrammaticUserStatus};
use serde_json::json;

use crate::bed::{Bed, CONCURRENCY, Template};
use crate::eyes::Eyes;

/// Writes for a user.
pub const WRITES: usize = 4;

/// What came out.
pub struct Ceiling {
    /// Writes a second.
    pub rate: f64,
    /// Milliseconds of processor time for the writes of one user.
    pub cost: BTreeMap<&'static str, f64>,
}

/// Writes to objects in a namespace that the operator does not watch; they are removed afterwards.
pub async fn measure(bed: &Bed, template: &Template) -> Ceiling {
    let count = bed.numbers.made.clamp(10, 500);
    let namespace = bed.spare_namespace();
    let client = bed
        .world
        .cluster()
        .client_as_is(bed.world.operator_namespace())
        .await;
    let names: Vec<String> = (0..count).map(|i| format!("ceiling-{i:06}")).collect();
    let admin: Api<ProgrammaticUser> = Api::namespaced(bed.world.client(), namespace);
    futures::stream::iter(&names)
        .for_each_concurrent(CONCURRENCY, async |name| {
            let mut user = bed.object(name);
            user.metadata.namespace = Some(namespace.to_owned());
            admin.create(&PostParams::default(), &user).await.unwrap();
        })
        .await;
    // Another client watches the operator's users, too.
    let eyes = Eyes::on(admin.clone()).await;
    let before = bed.processor_time().await;
    let ends: Vec<Instant> = futures::stream::iter(&names)
        .map(async |name| {
            one(&client, namespace, name, template).await;
            Instant::now()
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let after = bed.processor_time().await;
    eyes.ready(&names, Bed::patience(count)).await;
    remove(bed, namespace).await;
    let rate = rate(ends) * f64::from(u8::try_from(WRITES).unwrap());
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let count = count as f64;
    Ceiling {
        rate,
        cost: cost(&before, &after, count),
    }
}

/// How many ended in a second, from when as many had ended as there are at one time: those came together.
pub fn rate(mut ends: Vec<Instant>) -> f64 {
    ends.sort_unstable();
    let first = CONCURRENCY.min(ends.len() / 2);
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let count = (ends.len() - 1 - first) as f64;
    count / (ends[ends.len() - 1] - ends[first]).as_secs_f64()
}

/// Milliseconds of processor time for each of so many.
pub fn cost(
    before: &BTreeMap<&'static str, f64>,
    after: &BTreeMap<&'static str, f64>,
    count: f64,
) -> BTreeMap<&'static str, f64> {
    let used = |(name, after): (&&'static str, &f64)| {
        let before = before.get(name).copied().unwrap_or_default();
        (*name, (after - before) * 1e3 / count)
    };
    after.iter().map(used).collect()
}

/// The operator's writes for a new user.
async fn one(client: &Client, namespace: &str, name: &str, template: &Template) {
    let users: Api<ProgrammaticUser> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
    let mut user = users
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    user.status = Some(journaled(template));
    let mut user = users.replace_status(name, &params, &user).await.unwrap();
    let secret = Bed::plain_secret(&template.secret, namespace, name);
    secrets.create(&params, &secret).await.unwrap();
    user.status.clone_from(&template.user.status);
    users.replace_status(name, &params, &user).await.unwrap();
}

/// A status as it is before the platform is asked.
fn journaled(template: &Template) -> ProgrammaticUserStatus {
    let mut status = template.user.status.clone().unwrap();
    let current = status.journal.current.take().unwrap();
    status.user_id = None;
    status.conditions.truncate(2);
    for condition in &mut status.conditions {
        "False".clone_into(&mut condition.status);
    }
    status.journal.pending = Some(Pending {
        nonce: current.nonce,
        started_at: status.token_issued_at.unwrap(),
        reason: "Create".to_owned(),
        fingerprint: current.fingerprint,
        secret_name: template.user.name_any(),
        rotate_at: None,
        revoke_now: None,
        granted: None,
    });
    status
}

async fn remove(bed: &Bed, namespace: &str) {
    let users: Api<ProgrammaticUser> = Api::namespaced(bed.world.client(), namespace);
    let none = json!({"metadata": {"finalizers": null}});
    let all = users.list(&ListParams::default()).await.unwrap();
    futures::stream::iter(&all.items)
        .for_each_concurrent(CONCURRENCY, async |user| {
            let patch = Patch::Merge(&none);
            users
                .patch(&user.name_any(), &PatchParams::default(), &patch)
                .await
                .unwrap();
        })
        .await;
    let everything = (DeleteParams::default(), ListParams::default());
    users
        .delete_collection(&everything.0, &everything.1)
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(bed.world.client(), namespace);
    secrets
        .delete_collection(&everything.0, &everything.1)
        .await
        .unwrap();
}
