//! Objects as large as the API server takes them, which a tenant may write without any right but to write its own.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use programmatic_users::api::ProgrammaticUser;

use crate::support::process::Memory;
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

const OBJECTS: usize = 60;
const MIB: u64 = 1024 * 1024;
/// The chart gives 256 MiB; a debug build on a small machine has to leave room.
const MOST: u64 = 208 * MIB;

/// Some 0.9 MB: annotations up to their bound, and labels, which have none together. Half of it is the API server's own
/// record of who set which field.
fn large(world: &World, name: &str) -> ProgrammaticUser {
    let mut object = world.user(name).viewer(PAYMENTS).class("missing").object();
    let labels = (0..900).map(|i| {
        let domain = ["d".repeat(60), "e".repeat(60), "f".repeat(60), "g".repeat(60)].join(".");
        (format!("{domain}/{i:0>63}"), "v".repeat(63))
    });
    object.metadata.labels = Some(labels.collect());
    object.metadata.annotations = Some(BTreeMap::from([("large".to_owned(), "x".repeat(250_000))]));
    object
}

#[tokio::test]
async fn sixty_objects_of_almost_a_megabyte_leave_the_operator_within_its_memory() {
    let world = World::new("large").await;
    world.user("small").viewer(PAYMENTS).apply().await;
    world.ready("small").await;
    world.controller().restart().await;
    let quiet = Memory::of(world.controller().id().await.unwrap()).most;

    let api: Api<ProgrammaticUser> = Api::namespaced(world.client(), world.namespace());
    let objects = (0..OBJECTS).map(|i| large(&world, &format!("large-{i}")));
    stream::iter(objects)
        .map(|object| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &object).await.map(drop) }
        })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await
        .unwrap();
    let last = format!("large-{}", OBJECTS - 1);
    let stored = serde_json::to_vec(&api.get(&last).await.unwrap()).unwrap().len();
    assert!((800_000..1_400_000).contains(&stored), "{stored}");
    let all_are_refused = async || {
        for i in 0..OBJECTS {
            let user = world.get(&format!("large-{i}")).await;
            let conditions = user.status.iter().flat_map(|s| &s.conditions);
            if !conditions.into_iter().any(|c| c.reason == "UnknownClass") {
                return Err(format!("large-{i} is not"));
            }
        }
        Ok(())
    };
    world.eventually("all to be refused", SOON, all_are_refused).await;
    let written = Memory::of(world.controller().id().await.unwrap()).most;

    // The first lists of a start have all of them.
    world.controller().restart().await;
    world.ready("small").await;
    let change = serde_json::json!({"metadata": {"annotations": {"looked": "at"}}});
    world.change(&last, change).await.unwrap();
    world.stalled(&last, "UnknownClass").await;
    let started = Memory::of(world.controller().id().await.unwrap()).most;
    println!(
        "large: peak {} MiB without them, {} while {OBJECTS} objects of {} KB came, {} after a start with them",
        quiet / MIB,
        written / MIB,
        stored / 1000,
        started / MIB
    );
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    assert!(
        written < MOST && started < MOST,
        "{} and {} MiB",
        written / MIB,
        started / MIB
    );
    assert!(!world.controller().has_ended_by_itself().await);
}
