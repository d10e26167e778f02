//! Many users wait for a few places in the hour's budget: what that costs the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::Api;
use kube::api::{ListParams, PostParams};
use programmatic_users::api::{ProgrammaticUser, READY};
use serde_json::json;

use crate::organizations::change;
use crate::support::wait::eventually;
use crate::support::{PAYMENTS, World};

/// A place is free again after this time.
const HOUR: Duration = Duration::from_mins(1);
/// Users an hour. One namespace may have half.
const PER_HOUR: usize = 60;
/// All of them are refused once within this time.
const PATIENCE: Duration = Duration::from_mins(3);
/// Requests that one new user costs at most: two reads, six writes, and the reads of those that were too late for the place.
const COST: usize = 20;

fn ready_reason(user: &ProgrammaticUser) -> Option<&str> {
    let mut conditions = user.status.iter().flat_map(|s| &s.conditions);
    let ready = conditions.find(|c| c.type_ == READY)?;
    Some(&ready.reason)
}

/// How many users there are of each reason.
async fn reasons(world: &World) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for namespace in world.namespaces() {
        let users: Api<ProgrammaticUser> = Api::namespaced(world.client(), namespace);
        for user in users.list(&ListParams::default()).await.unwrap() {
            let reason = ready_reason(&user).unwrap_or_default().to_owned();
            *found.entry(reason).or_default() += 1;
        }
    }
    found
}

async fn apply(world: &World, many: usize) {
    let users = (0..many).map(async |n| {
        let namespace = &world.namespaces()[n % world.namespaces().len()];
        let user = world.user(&format!("u{n}")).viewer(PAYMENTS).namespace(namespace);
        let api: Api<ProgrammaticUser> = Api::namespaced(world.client(), namespace);
        api.create(&PostParams::default(), &user.object()).await.unwrap();
    });
    stream::iter(users).buffer_unordered(16).collect::<Vec<_>>().await;
}

/// `WAITING=1000` prints the figure of `docs/measurements.md`.
#[tokio::test]
async fn users_that_wait_for_a_place_cost_no_requests() {
    let waiting = std::env::var("WAITING").map_or(300, |n| n.parse().unwrap());
    let world = World::builder("storm")
        .namespaces(4)
        .controller_stopped()
        .controller_flags(&["--creates-hour", "60s"])
        .start()
        .await;
    change(&world, json!({"limits": {"createsPerHour": PER_HOUR}})).await;
    apply(&world, waiting + PER_HOUR).await;
    world.controller().resume().await.unwrap();
    eventually("each user to be Ready or refused", PATIENCE, async || {
        let reasons = reasons(&world).await;
        let done = |reason: &str| reasons.get(reason).copied().unwrap_or_default();
        if done("Ready") + done("CreateBudgetExhausted") == waiting + PER_HOUR {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await
    .unwrap();

    let before = world.platform().users().await.len();
    let mark = world.audit_mark().await;
    tokio::time::sleep(HOUR).await;
    let requests = world.audit_from(mark).await;
    let made = world.platform().users().await.len() - before;
    let of_operator = |resource: &str| {
        requests
            .iter()
            .filter(|e| e.is_operator() && e.object_ref.resource == resource)
            .count()
    };
    let (users, secrets, events) = (
        of_operator("programmaticusers"),
        of_operator("secrets"),
        of_operator("events"),
    );
    println!(
        "{waiting} users wait for {PER_HOUR} places an hour: {} requests in an hour of {HOUR:?} (users {users}, Secrets {secrets}, Events {events}), {made} users made",
        users + secrets + events
    );
    assert!(made >= PER_HOUR / 2, "{made} were made");
    assert!(
        users + secrets + events <= COST * made,
        "not in proportion to the {waiting} that wait"
    );
}
