//! Puts users there that are Ready already: the operator would need too long to create as many.
//!
//! Each is a real one. Its user is made on the platform by the API, with the marker of this installation and the object;
//! its token is in a Secret, its status is sealed, and all goes through the API server. Only the order of the writes and
//! the lack of a journaled attempt are not the operator's. That it finds nothing to do about them is asserted later.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt as _;
use kube::api::PostParams;
use programmatic_users::api::{
    DIGEST_ANNOTATION, FINALIZER, NONCE_ANNOTATION, ProgrammaticUserStatus, USER_ID_ANNOTATION,
};
use programmatic_users::plan::{self, Marker, NONCE_LEN, base32};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::bed::{Bed, CONCURRENCY, INSTANCE, Template};
use crate::support::PAYMENTS;

pub async fn fill(bed: &mut Bed, template: &Template) {
    let missing = bed.numbers.users - bed.numbers.made;
    if missing == 0 {
        return;
    }
    let names = bed.claim("there", missing);
    let begin = Instant::now();
    let (bed, done) = (&*bed, std::sync::atomic::AtomicUsize::new(0));
    futures::stream::iter(&names)
        .for_each_concurrent(CONCURRENCY, async |name| {
            one(bed, template, name).await;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            if done.is_multiple_of(10_000) {
                println!("{done} users put there in {} s", begin.elapsed().as_secs());
            }
        })
        .await;
}

async fn one(bed: &Bed, template: &Template, name: &str) {
    let params = PostParams::default();
    let mut user = bed.object(name);
    user.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let mut user = bed.world.users().create(&params, &user).await.unwrap();

    let nonce = base32(&rand::random::<[u8; 10]>(), NONCE_LEN);
    let marker = Marker::new(INSTANCE, &user.uid().unwrap(), &nonce);
    let body = json!({
        "name": marker.name(user.spec.display_name.as_deref().unwrap()),
        "description": user.spec.description,
        "accounts": [{"id": PAYMENTS, "role": "editor"}],
    });
    let platform = bed.world.platform();
    let made = platform
        .post("/setup/user/programmatic", &platform.admin_token, &body)
        .await;
    assert_eq!(made.status, 200, "{}", made.message());
    let text = |key: &str| made.items()[0][key].as_str().unwrap().to_owned();
    let (id, token) = (text("id"), text("token"));

    let mut secret = Bed::plain_secret(&template.secret, bed.world.namespace(), name);
    secret.metadata.owner_references = Some(
        template
            .secret
            .owner_references()
            .iter()
            .cloned()
            .map(|mut owner| {
                name.clone_into(&mut owner.name);
                owner.uid = user.uid().unwrap();
                owner
            })
            .collect(),
    );
    let data = secret.data.as_mut().unwrap();
    data.insert(
        "SPOTINST_TOKEN".to_owned(),
        ByteString(token.clone().into_bytes()),
    );
    let digest = digest(data);
    let annotations = secret.annotations_mut();
    for (key, value) in [
        (NONCE_ANNOTATION, &nonce),
        (USER_ID_ANNOTATION, &id),
        (DIGEST_ANNOTATION, &digest),
    ] {
        annotations.insert(key.to_owned(), value.clone());
    }
    bed.world.secrets().create(&params, &secret).await.unwrap();

    let like = serde_json::to_string(template.user.status.as_ref().unwrap()).unwrap();
    // Messages name the user, too.
    let like = like.replace(
        template.user.status.as_ref().unwrap().user_id.as_deref().unwrap(),
        &id,
    );
    let mut status: ProgrammaticUserStatus = serde_json::from_str(&template.renamed(&like, name)).unwrap();
    status.user_id = Some(id.clone());
    status.token_last_digits = Some(token[60..].to_owned());
    status.token_issued_at = Some(Timestamp::from_second(Timestamp::now().as_second()).unwrap());
    let current = status.journal.current.as_mut().unwrap();
    let desired = plan::validate(&user, &template.class, &template.organization).unwrap();
    current.fingerprint = desired.fingerprint;
    current.nonce = nonce;
    current.user_id = id;
    plan::set_checksum(INSTANCE, &user, &mut status);
    user.status = Some(status);
    bed.world
        .users()
        .replace_status(name, &params, &user)
        .await
        .unwrap();
}

/// As the operator finds out whether the Secret was edited.
fn digest(data: &BTreeMap<String, ByteString>) -> String {
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    let mut hasher = Sha256::new();
    for (key, value) in data {
        for part in [key.as_bytes(), &value.0] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    format!("{}:{}", keys.join(","), base32(&hasher.finalize(), 16))
}
