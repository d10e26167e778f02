//! Replies of platforms that are larger than anything of use.

use crate::support::process::Memory;
use crate::support::proxy::{Act, Lie, Seen};
use crate::support::{PAYMENTS, World};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn a_policy_with_a_document_of_many_megabytes_takes_no_memory_of_the_operator() {
    let world = World::builder("replies").proxied().start().await;
    world
        .user("before")
        .policy_based(PAYMENTS)
        .policy("Account Viewer")
        .apply()
        .await;
    world.ready("before").await;
    let id = world.controller().id().await.unwrap();
    let quiet = Memory::of(id).most;
    let policies = |seen: &Seen| seen.resource == "/setup/organization/policy";

    // Within the cap: it is read, and its document passed over.
    let padded = world
        .proxies()
        .platform
        .arm_nth(Act::Lie(Lie::Padded(3_900_000)), 0, 1_000_000, policies);
    world.controller().restart().await;
    world
        .user("padded")
        .policy_based(PAYMENTS)
        .policy("Account Viewer")
        .apply()
        .await;
    world.ready("padded").await;
    padded.disarm();
    let id = world.controller().id().await.unwrap();
    let within = Memory::of(id).most;

    // Beyond it: it is not read to its end, and the object says so.
    let huge = world
        .proxies()
        .platform
        .arm_nth(Act::Lie(Lie::Padded(16 << 20)), 0, 1_000_000, policies);
    world.controller().restart().await;
    world
        .user("huge")
        .policy_based(PAYMENTS)
        .policy("Account Viewer")
        .apply()
        .await;
    world
        .until("huge", "to wait for the platform", |u| {
            let conditions = u.status.iter().flat_map(|s| &s.conditions);
            conditions.into_iter().any(|c| c.reason == "PlatformUnreachable")
        })
        .await;
    // What an endpoint answers is not for those who may read the object.
    let log = world.controller().log();
    assert!(log.contains("the reply has more than 4096 KiB"), "{log}");
    let id = world.controller().id().await.unwrap();
    let beyond = Memory::of(id).most;
    huge.disarm();
    world.ready("huge").await;
    println!(
        "replies: peak {} MiB at rest, {} with a policy of 3.9 MB, {} with one of 16 MiB",
        quiet / MIB,
        within / MIB,
        beyond / MIB
    );
    for peak in [within, beyond] {
        assert!(peak < quiet + 24 * MIB, "{} MiB", peak / MIB);
    }
}
