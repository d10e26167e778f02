//! No namespace uses up what all of an organization have: users an hour, places, look-ups of the catalog.

use std::time::Instant;

use futures::future::join_all;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use programmatic_users::api::{ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};
use serde_json::json;

use crate::organizations::change;
use crate::support::wait::{SOON, eventually};
use crate::support::{PAYMENTS, World};

fn has(user: &ProgrammaticUser, reason: &str) -> bool {
    let conditions = user.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().any(|c| c.reason == reason)
}

/// The first user of the second namespace.
async fn other_is_ready(world: &World, name: &str) {
    let other: Api<ProgrammaticUser> = Api::namespaced(world.client(), &world.namespaces()[1]);
    let user = world
        .user(name)
        .viewer(PAYMENTS)
        .namespace(&world.namespaces()[1])
        .object();
    other.create(&PostParams::default(), &user).await.unwrap();
    eventually("the other namespace's user to be Ready", SOON, async || {
        let user = other.get(name).await.map_err(|e| e.to_string())?;
        has(&user, "Ready")
            .then_some(())
            .ok_or_else(|| format!("{:?}", user.status))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_namespace_that_makes_and_deletes_users_leaves_half_of_the_hours_creates_to_others() {
    let world = World::builder("half")
        .namespaces(2)
        .controller_stopped()
        .start()
        .await;
    // With one call in flight a permit must not wait for a call of its own reconcile.
    let limits = json!({"createsPerHour": 4, "maxInFlight": 1});
    change(&world, json!({"limits": limits})).await;
    let class = world.class("one").max_users_per_namespace(1).apply().await;
    world.controller().resume().await.unwrap();
    for n in 0..2 {
        let name = format!("again{n}");
        world.user(&name).viewer(PAYMENTS).class(&class).apply().await;
        world.ready(&name).await;
        world.delete(&name).await;
        world.gone(&name).await;
    }
    world.user("more").viewer(PAYMENTS).class(&class).apply().await;
    let user = world
        .until("more", "to tell", |u| has(u, "CreateBudgetExhausted"))
        .await;
    let conditions = user.status.unwrap().conditions;
    let message = &conditions
        .iter()
        .find(|c| c.reason == "CreateBudgetExhausted")
        .unwrap()
        .message;
    assert!(
        message.contains(&format!("2 users were made for namespace {}", world.namespace())),
        "{message}"
    );
    other_is_ready(&world, "first").await;
}

#[tokio::test]
async fn floods_of_replacements_and_revocations_count_within_the_same_share() {
    let world = World::builder("floods")
        .namespaces(2)
        .controller_stopped()
        .start()
        .await;
    change(&world, json!({"limits": {"createsPerHour": 8}})).await;
    world.controller().resume().await.unwrap();
    let names = ["one", "two"];
    for name in names {
        world.user(name).viewer(PAYMENTS).apply().await;
        world.ready(name).await;
    }
    let flood = async |key: &str, value: &str| {
        for name in names {
            let asked = json!({"metadata": {"annotations": {key: value}}});
            world.change(name, asked).await.unwrap();
        }
    };
    let made = async |most: usize| {
        eventually(
            &format!("{most} users to have been made, and no more to be"),
            SOON,
            async || {
                let made = calls(&world, "POST", "/setup/user/programmatic");
                let users = [world.get(names[0]).await, world.get(names[1]).await];
                let is_reported = users.iter().any(|u| has(u, "CreateBudgetExhausted"));
                (made == most && is_reported)
                    .then_some(())
                    .ok_or_else(|| format!("{made}, reported: {is_reported}"))
            },
        )
        .await
        .unwrap();
    };
    // Half of 8 are 4: a tenth of them is kept from replacements, and there is a tenth more for revocations.
    flood(ROTATE_AT_ANNOTATION, "1").await;
    made(3).await;
    flood(REVOKE_NOW_ANNOTATION, "1").await;
    for name in names {
        world
            .until(name, "to be revoked", |u| {
                u.status
                    .as_ref()
                    .is_some_and(|s| s.last_handled_revoke_now.is_some())
            })
            .await;
    }
    flood(REVOKE_NOW_ANNOTATION, "2").await;
    made(5).await;
    other_is_ready(&world, "first").await;
}

/// Requests of this kind that the platform has answered.
fn calls(world: &World, method: &str, path: &str) -> usize {
    let log = std::fs::read_to_string(world.platform().dir().join("platform.err")).unwrap();
    let (method, path) = (format!("method=\"{method}\""), format!("path=\"{path}\""));
    log.lines()
        .filter(|l| l.contains(&method) && l.contains(&path))
        .count()
}

/// Waits until so many users wait for a place.
async fn waiting(world: &World, count: usize) {
    let wanted = format!("programmatic_users_reconciles_waiting{{kind=\"ProgrammaticUser\"}} {count}");
    eventually(&wanted, SOON, async || {
        let text = world.controller().metrics().await;
        let is = text
            .lines()
            .find(|l| l.starts_with("programmatic_users_reconciles_waiting{kind=\"P"));
        (is == Some(&*wanted))
            .then_some(())
            .ok_or_else(|| format!("{is:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn many_users_of_one_namespace_hold_up_no_other_namespaces_for_long() {
    const MANY: usize = 500;
    const PLACES: usize = 16;
    let world = World::builder("line")
        .namespaces(2)
        .controller_stopped()
        .start()
        .await;
    // Users that have a place keep it for as long as the platform does not answer.
    change(&world, json!({"endpoint": {"timeout": "1m"}})).await;
    world.platform().freeze().await;
    world.controller().resume().await.unwrap();
    let names: Vec<String> = (0..MANY).map(|n| format!("u{n:03}")).collect();
    join_all(names.iter().map(|name| world.user(name).viewer(PAYMENTS).apply())).await;
    waiting(&world, MANY - PLACES).await;
    let other: Api<ProgrammaticUser> = Api::namespaced(world.client(), &world.namespaces()[1]);
    let user = world
        .user("late")
        .viewer(PAYMENTS)
        .namespace(&world.namespaces()[1])
        .object();
    other.create(&PostParams::default(), &user).await.unwrap();
    waiting(&world, MANY - PLACES + 1).await;
    world.platform().thaw().await;
    let place = eventually("the other namespace's user to be made", SOON, async || {
        let all = world.platform().users().await;
        // In the order in which they were made.
        let mut names = all.iter().map(|u| u["username"].as_str().unwrap_or_default());
        names
            .position(|n| n.starts_with("late/"))
            .ok_or_else(|| format!("{} others are", all.len()))
    })
    .await
    .unwrap();
    println!("of {MANY} users of another namespace that came before, {place} were made before");
    // Those that had places, one whose turn came first, and as many that overtook it on their way.
    assert!(place <= 2 * PLACES, "{place} of {MANY}");
    world.controller().stop().await;
}

#[tokio::test]
async fn objects_with_unknown_names_share_one_catalog_read_in_half_a_minute() {
    const OBJECTS: usize = 42;
    let world = World::builder("unknown").start().await;
    let all = || (0..OBJECTS).map(|n| format!("u{n}"));
    let begun = Instant::now();
    for name in all() {
        world.user(&name).viewer(PAYMENTS).group("missing").apply().await;
    }
    for name in all() {
        world.stalled(&name, "UnknownGroup").await;
    }
    // Each names something else that there is not.
    let users = world.users();
    for name in all() {
        let other = json!({"spec": {"access": {"groups": [{"name": format!("none-{name}")}]}}});
        users
            .patch(&name, &PatchParams::default(), &Patch::Merge(other))
            .await
            .unwrap();
    }
    for name in all() {
        world.stalled(&name, "UnknownGroup").await;
    }
    let (took, read) = (begun.elapsed(), calls(&world, "GET", "/setup/access/userGroup"));
    // One because it was out of date, and one out of turn.
    let spans = took.as_secs() / 30 + 1;
    println!("{OBJECTS} objects that named what there is not had the catalog read {read} times in {took:?}");
    assert!(
        read <= 2 * usize::try_from(spans).unwrap(),
        "{read} times in {took:?}"
    );

    // What is made meanwhile is found, and the object that names it goes on.
    world.platform().make_group("none-u7").await;
    let touch = json!({"spec": {"description": "now there is one"}});
    world.change("u7", touch).await.unwrap();
    world.ready("u7").await;
}
