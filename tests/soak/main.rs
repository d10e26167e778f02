//! Random faults over many lives of users, with two controllers that both lead.
//!
//! `make soak SEED=7` runs it with 2,000 lives; plain `cargo test` with a few. The seed decides which requests suffer
//! what, and what people do: a request by what it asks for and how often that was asked before, a life by its number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod dice;
mod life;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use programmatic_users::api::{MANAGED_BY_LABEL, MANAGER, STAGING_LABEL};
use programmatic_users::plan::Marker;

use dice::Dice;
use support::proxy::{Asked, Posted};
use support::wait::SOON;
use support::{Operator, World};

/// Lives at one time.
const AT_ONCE: usize = 40;
/// Short deadlines, so that a settle window takes seconds.
const FLAGS: [&str; 6] = [
    "--create-timeout",
    "2s",
    "--settle-slack",
    "1s",
    "--lease-duration",
    "4s",
];

fn variable(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok().filter(|v| !v.is_empty());
    text.map_or(otherwise, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name} has to be a number"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_no_user_is_left_over_and_no_token_is_lost() {
    let (seed, lives) = (variable("SEED", 1), variable("LIVES", 24));
    println!("soak: seed {seed}, {lives} lives");
    let world = World::builder("soak")
        .proxied()
        .drift("2s")
        .controller_stopped()
        .controller_flags(&FLAGS)
        .platform_flags(&["--rate-limit", "0"])
        .start()
        .await;
    let flags: Vec<String> = FLAGS
        .iter()
        .chain(&["--lease-name", "second"])
        .map(|&f| f.to_owned())
        .collect();
    let (second, second_api) = world.second_controller_proxied("second", &flags).await;
    let second = Arc::new(second);
    second_api.set_victim(second.clone());

    let dice = Arc::new(Dice::new(seed));
    let proxies = world.proxies();
    let mut faults = Vec::new();
    for proxy in [&proxies.api, &second_api, &proxies.platform] {
        faults.extend(dice.arm(proxy));
    }
    let begun = Instant::now();
    let supervised = supervise([world.controller(), &second]);
    let all = async {
        let numbers = futures::stream::iter(0..lives);
        let stories = numbers
            .map(|n| life::live(&world, &dice, n))
            .buffer_unordered(AT_ONCE);
        let stories: Vec<_> = stories.inspect(|story| println!("{story}")).collect().await;
        for fault in &faults {
            fault.disarm();
        }
        stories
    };
    let stories = tokio::select! {
        stories = all => stories,
        () = supervised => unreachable!("it never ends"),
    };
    let took = begun.elapsed();
    // What is still on its way may end in peace.
    let quiet = supervise([world.controller(), &second]);
    tokio::select! {
        () = nothing_is_left(&world) => {}
        () = quiet => unreachable!("it never ends"),
    }

    let posts: Vec<Posted> = world
        .proxies()
        .platform
        .ledger()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::Post(posted) => Some(posted),
            _ => None,
        })
        .collect();
    let mut nonces = BTreeSet::new();
    let twice: Vec<&Posted> = posts
        .iter()
        .filter(|p| p.marker.as_ref().is_none_or(|m| !nonces.insert(m.nonce.clone())))
        .collect();
    let lost: Vec<_> = stories.iter().filter(|s| s.is_wrong()).collect();
    let leaks = world.leaks().await;
    println!(
        "soak: seed {seed}, {lives} lives in {} s: {} faults ({}), {} users made, {} replaced; 0 left over, {} asked for twice, {} lives went wrong, {} leaks",
        took.as_secs(),
        dice.struck(),
        dice.summary(),
        posts.len(),
        stories.iter().map(life::Story::replaced).sum::<usize>(),
        twice.len(),
        lost.len(),
        leaks.len(),
    );
    assert!(twice.is_empty(), "{twice:?}");
    assert!(lost.is_empty(), "rerun with SEED={seed} LIVES={lives}: {lost:#?}");
    assert!(leaks.is_empty(), "{leaks:?}");
    assert!(dice.struck() > 0, "nothing went wrong: no soak");
}

/// Starts the operators again that were killed, or ended because their Lease was lost.
async fn supervise(controllers: [&Operator; 2]) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        for controller in controllers {
            if controller.id().await.is_none() {
                // One that is killed while it starts is started again in the next round.
                let _ = controller.launch().await;
            }
        }
    }
}

/// No user, no Secret, nothing staged.
async fn nothing_is_left(world: &World) {
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let managed = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let staged = ListParams::default().labels(STAGING_LABEL);
    world
        .eventually("nothing to be left", SOON * 2, async || {
            let users = world.platform().users().await;
            let ours = users
                .iter()
                .filter_map(|u| u["username"].as_str())
                .filter(|n| Marker::parse(n).is_some());
            let left: Vec<String> = ours.map(str::to_owned).collect();
            let secrets = world
                .secrets()
                .list(&managed)
                .await
                .map_err(|e| e.to_string())?
                .items
                .len();
            let staged = own.list(&staged).await.map_err(|e| e.to_string())?.items.len();
            if left.is_empty() && secrets == 0 && staged == 0 {
                Ok(())
            } else {
                Err(format!("users {left:?}, {secrets} Secrets, {staged} staged"))
            }
        })
        .await;
}
