//! The cost of a creation and of settled objects: writes, requests, time. Times are printed and not asserted.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use programmatic_users::api::{ProgrammaticUser, READY};

use crate::support::{PAYMENTS, World};

fn is_ready(user: &ProgrammaticUser) -> bool {
    user.status
        .iter()
        .flat_map(|s| &s.conditions)
        .any(|c| c.type_ == READY && c.status == "True")
}

/// Users that are timed.
const USERS: usize = 50;
/// Users at rest in the end.
const MANY: usize = 200;
/// Drift interval in seconds.
const INTERVAL: u64 = 15;
/// Calls in one interval at most: one list; accounts, policies and groups; details and token of five users.
const CALLS: usize = 1 + 3 + 5 * 2;

#[tokio::test]
async fn a_creation_costs_four_writes_and_two_hundred_settled_objects_cost_none() {
    let world = World::builder("figures")
        .drift(&format!("{INTERVAL}s"))
        .start()
        .await;
    // One at a time on an idle system: from the answer to the apply to the event that says Ready.
    let mut times = Vec::new();
    for i in 0..USERS {
        let name = format!("u{i}");
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let stream = watcher(world.users(), config).applied_objects();
        let mut stream = std::pin::pin!(stream);
        let start = Instant::now();
        world.user(&name).editor(PAYMENTS).apply().await;
        while let Some(user) = stream.try_next().await.unwrap() {
            if is_ready(&user) {
                break;
            }
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let ms = |d: Duration| d.as_millis();
    println!(
        "apply to Ready over {USERS} users: p50 {} ms, p95 {} ms, max {} ms",
        ms(times[USERS / 2]),
        ms(times[USERS * 95 / 100]),
        ms(times[USERS - 1])
    );

    let writes = world.writes_from(0).await;
    let ours = writes
        .iter()
        .filter(|e| e.object_ref.namespace == world.namespace());
    let mut by_user = std::collections::BTreeMap::<String, Vec<String>>::new();
    for entry in ours {
        by_user
            .entry(entry.object_ref.name.clone())
            .or_default()
            .push(entry.describe());
    }
    let most = by_user.values().map(Vec::len).max().unwrap();
    println!("writes per new user: {most}, such as {:?}", by_user["u0"]);
    assert_eq!(by_user.len(), USERS);
    assert!(most <= 4, "{by_user:#?}");

    rest(&world, USERS, 2 * INTERVAL).await;
    for i in USERS..MANY {
        world.user(&format!("u{i}")).editor(PAYMENTS).apply().await;
    }
    for i in USERS..MANY {
        world.ready(&format!("u{i}")).await;
    }
    rest(&world, MANY, 4 * INTERVAL).await;
    assert_eq!(world.platform().users().await.len(), MANY);
}

/// Nothing is written while nothing changes, and the calls to the platform do not grow with the users.
async fn rest(world: &World, users: usize, span: u64) {
    // The list after the last creation sees other numbers than the one before, and says so once.
    world.counted(i32::try_from(users).unwrap()).await;
    let mark = world.audit_mark().await;
    let before = requests(world);
    tokio::time::sleep(Duration::from_secs(span)).await;
    let calls = requests(world) - before;
    let writes = world.written_from(mark).await;
    println!(
        "{users} users at rest for {span} s: {} writes, {calls} calls to the platform at an interval of {INTERVAL} s",
        writes.len()
    );
    assert_eq!(writes, Vec::<String>::new());
    let intervals = usize::try_from(span / INTERVAL).unwrap() + 1;
    assert!(
        calls <= intervals * CALLS,
        "{calls} calls in {intervals} intervals"
    );
}

/// Requests that the platform has logged.
fn requests(world: &World) -> usize {
    let log = std::fs::read_to_string(world.platform().dir().join("platform.err")).unwrap();
    log.lines().filter(|l| l.contains("path=\"/setup")).count()
}
