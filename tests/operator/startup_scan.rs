//! After a start: settled objects are not read one by one, and those with something to do are found all the same.

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use programmatic_users::api::{MANAGED_BY_LABEL, MANAGER, ProgrammaticUser, ROTATE_AT_ANNOTATION};
use serde_json::json;

use crate::support::audit::Entry;
use crate::support::proxy::{Act, Seen};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

const USERS: usize = 40;
/// Users that an organization compares with the platform at each list.
const CHECKED: usize = 5;

fn names() -> impl Iterator<Item = String> {
    (0..USERS).map(|i| format!("u{i}"))
}

/// Users that are ready, every other one with a Secret of another name, every third one to be replaced some day; the
/// controller is stopped. What it has logged so far.
async fn settled(world: &World) -> usize {
    for (i, name) in names().enumerate() {
        let mut user = world.user(&name).viewer(PAYMENTS);
        if i % 2 == 1 {
            user = user.secret(&format!("token-of-{}", USERS - i));
        }
        if i % 3 == 0 {
            user = user.with(|spec| {
                let rotation = json!({"every": "720h"});
                spec.rotation = serde_json::from_value(rotation).unwrap();
            });
        }
        user.apply().await;
    }
    for name in names() {
        world.ready(&name).await;
    }
    world.controller().stop().await;
    world.controller().log().len()
}

/// Waits until the controller says this, after so much else; the line.
async fn says(world: &World, after: usize, words: &str) -> String {
    let log = async || {
        let log = world.controller().log();
        let line = log[after..].lines().find(|l| l.contains(words));
        line.map(str::to_owned).ok_or_else(|| log.clone())
    };
    world.eventually(words, SOON, log).await
}

/// A number that the line tells.
fn number(line: &str, name: &str) -> usize {
    let number = line.split(name).nth(1).unwrap();
    number.split_whitespace().next().unwrap().parse().unwrap()
}

/// Starts the controller again; how many users it finds at rest by lists.
async fn at_rest(world: &World, logged: usize) -> usize {
    world.controller().resume().await.unwrap();
    let said = says(
        world,
        logged,
        "users that are up to date were checked by the startup scan",
    )
    .await;
    number(&said, "at_rest=")
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
async fn settled_objects_are_not_read_after_a_start_and_changed_ones_are_found() {
    let world = World::new("first-look").await;
    let logged = settled(&world).await;
    let users = async |name: &str| world.get(name).await.status.unwrap().user_id.unwrap();
    let before: Vec<String> = futures::future::join_all(["u0", "u1", "u2", "u3"].map(users)).await;

    // While no operator runs.
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
    let at_rest = at_rest(&world, logged).await;
    // Of u2 and u3 something is asked, and of u0 and u1 the Secrets are not as they were; others may have been called meanwhile
    // to be compared with the platform.
    assert!(
        (USERS - 4 - 3 * CHECKED..=USERS - 4).contains(&at_rest),
        "{at_rest}"
    );
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
    // The organization looks again when it sees its credential.
    assert!(read.len() <= 4 + 3 * CHECKED, "{read:?} were read");

    // A change of a settled object is noticed like any other.
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
async fn large_secrets_with_our_label_are_listed_in_small_pages() {
    let world = World::new("first-look-large").await;
    let logged = settled(&world).await;
    // Twelve MiB in all, between the others by their names.
    for i in 0..12 {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": format!("u{i}-large"), "labels": {MANAGED_BY_LABEL: MANAGER}},
            "data": {"large": ByteString(vec![b'x'; 768 << 10])},
        }))
        .unwrap();
        world
            .secrets()
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    }
    let mark = world.audit_mark().await;
    let at_rest = at_rest(&world, logged).await;
    assert!(at_rest >= USERS - 3 * CHECKED, "{at_rest}");
    let asked = world.audit_from(mark).await;
    // Pages of 500 and of 63 were too large, and given up in the middle.
    let few =
        |e: &Entry| e.is_operator() && e.object_ref.kind() == "secrets" && e.request_uri.contains("limit=8");
    assert!(asked.iter().any(few), "no smaller page was asked for");
}

/// The first one is that of the watch, the second one that of the first look.
fn lists(seen: &Seen) -> bool {
    seen.verb == "list" && !seen.watch && seen.resource == "programmaticusers"
}

#[tokio::test]
async fn objects_with_an_open_request_do_not_wait_for_the_scan() {
    let world = World::builder("first-look-held").proxied().start().await;
    let logged = settled(&world).await;
    let fault = world.proxies().api.arm_nth(Act::Hold, 1, 1, lists);
    world.controller().resume().await.unwrap();
    world
        .eventually("the list", SOON, async || {
            fault
                .fired
                .is_set()
                .then_some(())
                .ok_or("not asked for".to_owned())
        })
        .await;
    let rotated = |value: &'static str| {
        move |user: &ProgrammaticUser| {
            let status = user.status.as_ref().unwrap();
            status.last_handled_rotate_at.as_deref() == Some(value) && status.journal.pending.is_none()
        }
    };
    let rotate = |value: &str| json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: value}}});
    world.change("u7", rotate("1")).await.unwrap();
    world.until("u7", "to be replaced", rotated("1")).await;
    world.delete("u8").await;
    world.gone("u8").await;
    world
        .secrets()
        .delete("u10", &DeleteParams::default())
        .await
        .unwrap();
    world
        .eventually("another Secret", SOON, async || {
            world
                .secrets()
                .get("u10")
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await;
    let made = world.get("u7").await.status.unwrap().user_id;
    fault.released.set();
    // By the list, or without it if all this took too long.
    says(&world, logged, "users that are up to date ").await;
    // They are noticed as ever, and nothing is done twice.
    world.change("u9", rotate("1")).await.unwrap();
    world.until("u9", "to be replaced", rotated("1")).await;
    assert_eq!(world.get("u7").await.status.unwrap().user_id, made);
}

#[tokio::test]
async fn the_scan_waits_once_for_a_platform_that_does_not_answer() {
    let world = World::new("first-look-silent").await;
    let logged = settled(&world).await;
    let before = world.get("u9").await.status.unwrap().user_id;
    world.platform().freeze().await;
    let at_rest = at_rest(&world, logged).await;
    assert_eq!(at_rest, 0, "it is not known what is due");
    world.platform().thaw().await;
    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("u9", rotate).await.unwrap();
    world
        .until("u9", "to be replaced", |u| {
            let status = u.status.as_ref().unwrap();
            status.user_id != before && status.journal.pending.is_none()
        })
        .await;
}

#[tokio::test]
async fn without_the_lists_every_object_is_read() {
    let world = World::builder("no-first-look").proxied().start().await;
    let logged = settled(&world).await;
    let begun = world.proxies().api.trace().len();
    let fault = world.proxies().api.arm_nth(Act::Refuse(500), 1, 1, lists);
    world.controller().resume().await.unwrap();
    says(
        &world,
        logged,
        "users that are up to date are reconciled one by one",
    )
    .await;
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
