//! After a start: who has nothing to do is not read one by one, and who has is found all the same.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, Patch, PatchParams};
use programmatic_users::api::ROTATE_AT_ANNOTATION;
use serde_json::json;

use crate::support::proxy::{Act, Seen};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

const USERS: usize = 40;
/// Users that an organization compares with the platform at each list.
const CHECKED: usize = 5;

fn names() -> impl Iterator<Item = String> {
    (0..USERS).map(|i| format!("u{i}"))
}

/// Users that are ready, every other one with a Secret of another name; the controller is stopped.
async fn settled(world: &World) {
    for (i, name) in names().enumerate() {
        let user = world.user(&name).viewer(PAYMENTS);
        if i % 2 == 0 {
            user.apply().await;
        } else {
            user.secret(&format!("token-of-{}", USERS - i)).apply().await;
        }
    }
    for name in names() {
        world.ready(&name).await;
    }
    world.controller().stop().await;
}

/// Waits until the log of the controller says this.
async fn says(world: &World, words: &str) {
    let log = async || {
        let log = world.controller().log();
        log.contains(words).then_some(()).ok_or(log)
    };
    world.eventually(words, SOON, log).await;
}

/// Users that the operator has read one by one since the mark.
async fn read(world: &World, mark: u64) -> BTreeSet<String> {
    let entries = world.audit_from(mark).await;
    let reads = entries
        .into_iter()
        .filter(|e| e.is_operator() && e.verb == "get" && e.object_ref.kind() == "programmaticusers");
    reads.map(|e| e.object_ref.name).collect()
}

#[tokio::test]
async fn users_at_rest_are_not_read_and_what_changed_meanwhile_is_found() {
    let world = World::new("first-look").await;
    settled(&world).await;
    let users = async |name: &str| world.get(name).await.status.unwrap().user_id.unwrap();
    let before: Vec<String> = futures::future::join_all(["u0", "u1", "u2", "u3"].map(users)).await;

    // While nobody looks.
    let (secrets, here) = (world.secrets(), PatchParams::default());
    secrets.delete("u0", &DeleteParams::default()).await.unwrap();
    let edited = json!({"stringData": {"SPOTINST_TOKEN": "edited"}});
    let name = format!("token-of-{}", USERS - 1);
    secrets.patch(&name, &here, &Patch::Merge(edited)).await.unwrap();
    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("u2", rotate).await.unwrap();
    world
        .change("u3", json!({"spec": {"access": {"role": "Editor"}}}))
        .await
        .unwrap();

    let mark = world.audit_mark().await;
    world.controller().resume().await.unwrap();
    says(&world, "settled users were looked at by lists").await;
    for (name, old) in ["u0", "u1", "u2", "u3"].into_iter().zip(before) {
        world
            .until(name, "to be replaced", |u| {
                let status = u.status.as_ref().unwrap();
                status.user_id.as_ref() != Some(&old) && status.journal.pending.is_none()
            })
            .await;
        let token = world.token(name).await;
        assert!(world.platform().accepts(&token).await, "{name}");
    }
    let read = read(&world, mark).await;
    assert!(["u0", "u1", "u2", "u3"].iter().all(|name| read.contains(*name)));
    assert!(read.len() <= 4 + CHECKED, "{read:?} were read");

    // Whoever was at rest is noticed like everybody else.
    let untouched = names().skip(4).find(|name| !read.contains(name)).unwrap();
    let old = world.get(&untouched).await.status.unwrap().user_id;
    let secret = world.get(&untouched).await.status.unwrap().secret_name.unwrap();
    secrets.delete(&secret, &DeleteParams::default()).await.unwrap();
    world
        .until(&untouched, "to have another token", |u| {
            let status = u.status.as_ref().unwrap();
            status.user_id != old && status.journal.pending.is_none()
        })
        .await;
}

#[tokio::test]
async fn without_the_lists_everybody_is_read() {
    let world = World::builder("no-first-look").proxied().start().await;
    settled(&world).await;
    // The first list is that of the watch.
    let lists = |seen: &Seen| seen.verb == "list" && !seen.watch && seen.resource == "programmaticusers";
    let begun = world.proxies().api.trace().len();
    let fault = world.proxies().api.arm_nth(Act::Refuse(500), 1, 1, lists);
    world.controller().resume().await.unwrap();
    says(&world, "settled users are looked at one by one").await;
    assert!(fault.fired.is_set());
    let asked: BTreeSet<String> = names().collect();
    world
        .eventually("all users to be read", SOON, async || {
            let trace = world.proxies().api.trace();
            let since = trace.iter().skip(begun);
            let gets = since.filter(|e| e.seen.verb == "get" && e.seen.resource == "programmaticusers");
            let read: BTreeSet<String> = gets.map(|e| e.seen.name.clone()).collect();
            let missing: Vec<_> = asked.difference(&read).collect();
            missing.is_empty().then_some(()).ok_or(format!("{missing:?}"))
        })
        .await;
}
