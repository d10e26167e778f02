//! What it costs: writes, calls, time. Printed; times are not asserted.

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

#[tokio::test]
async fn a_new_user_costs_four_writes_and_fifty_at_rest_cost_none() {
    const USERS: usize = 50;
    const INTERVAL: u64 = 15;
    const SPAN: u64 = 60;
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

    // The list after the last creation sees other numbers than the one before, and says so once.
    world.counted(i32::try_from(USERS).unwrap()).await;
    let mark = world.audit_mark().await;
    let platform = world.platform();
    let calls_before = requests(&world);
    tokio::time::sleep(Duration::from_secs(SPAN)).await;
    let calls = requests(&world) - calls_before;
    let writes = world.written_from(mark).await;
    println!(
        "{USERS} users at rest for {SPAN} s: {} writes, {calls} calls to the platform at an interval of {INTERVAL} s",
        writes.len()
    );
    assert_eq!(writes, Vec::<String>::new());
    assert!(
        calls <= usize::try_from(SPAN / INTERVAL).unwrap() + 1,
        "{calls} calls"
    );
    assert_eq!(platform.users().await.len(), USERS);
}

/// Requests that the platform has logged.
fn requests(world: &World) -> usize {
    let log = std::fs::read_to_string(world.platform().dir().join("platform.err")).unwrap();
    log.lines().filter(|l| l.contains("path=\"/setup")).count()
}
