//! What the platform has answered is there after a SIGKILL, whole; what it has not is whole or not there at all.
//!
//! `make test` runs a few short rounds, `make durability` twenty of a minute.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::cluster::root;
use support::platform::Options;
use support::{PAYMENTS, Platform};
use tokio::sync::Mutex;

/// Rounds on one store, so that there are no more users than a list takes up in a moment.
const STORE: u64 = 5;
/// Writers at one time.
const WRITERS: usize = 16;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name} is no number: {v}"))
    })
}

/// Names of users asked for, by what was answered.
#[derive(Default)]
struct Asked {
    /// Name, id and token.
    answered: Vec<(String, String, String)>,
    /// No answer came.
    open: BTreeSet<String>,
}

/// One writer's creates until it has to stop, or the platform is gone.
async fn write(platform: Arc<Platform>, writer: String, stop: Arc<AtomicBool>) -> Asked {
    let mut asked = Asked::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{writer}-{n}");
        let body = json!({"name": name, "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
        let token = platform.admin_token.clone();
        let reply = platform
            .call(Method::POST, "/setup/user/programmatic", &token, Some(&body))
            .await;
        let Ok(answer) = reply else {
            asked.open.insert(name);
            break;
        };
        assert_eq!(answer.status, 200, "{}", answer.message());
        let made = &answer.items()[0];
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        asked.answered.push((name, text("id"), text("token")));
    }
    asked
}

/// Whose token is not taken, of users that were answered, and the status instead.
async fn refused(platform: &Arc<Platform>, answered: &[(String, String, String)]) -> Vec<(String, u16)> {
    let share = answered.len().div_ceil(WRITERS).max(1);
    let readers: Vec<_> = answered
        .chunks(share)
        .map(|share| {
            let (platform, share) = (platform.clone(), share.to_owned());
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for (name, _, token) in share {
                    let status = platform.get("/setup/account", &token).await.status;
                    if status != 200 {
                        refused.push((name, status));
                    }
                }
                refused
            })
        })
        .collect();
    let mut all = Vec::new();
    for reader in readers {
        all.extend(reader.await.unwrap());
    }
    all
}

/// Ids of the users made since then, from the audit log.
async fn recorded(platform: &Platform, since: i64) -> Vec<String> {
    let path = format!("/audit/events?fromDate={since}&toDate={}", i64::MAX);
    let events = platform.get(&path, &platform.admin_token).await.items();
    let made = |e: &Value| e["actionType"] == "createProgrammaticUser" && e["result"] == "success";
    events
        .iter()
        .filter(|e| made(e))
        .map(|e| e["resourceId"].as_str().unwrap().to_owned())
        .collect()
}

/// What became of the creates of some rounds.
#[derive(Default)]
struct Counts {
    answered: usize,
    open: usize,
    /// Of these, those that are there.
    kept: usize,
}

/// Kills the platform under its writers, and compares what is there with what was answered. `all` has the users of the
/// rounds before.
async fn round(
    platform: &Arc<Platform>,
    round: u64,
    span: u64,
    all: &mut BTreeMap<String, String>,
    counts: &mut Counts,
) {
    let since = jiff::Timestamp::now().as_millisecond();
    let mut made = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = |w| tokio::spawn(write(platform.clone(), format!("r{round}-w{w}"), stop.clone()));
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    // At some moment of the last half of the round.
    let moment = f64::from(rand::random::<u32>()) / f64::from(u32::MAX);
    tokio::time::sleep(Duration::from_secs(span).mul_f64(0.5 + moment / 2.0)).await;
    platform.kill().await;
    stop.store(true, Ordering::Relaxed);
    let mut asked = Asked::default();
    for writer in writers {
        let theirs = writer.await.unwrap();
        asked.answered.extend(theirs.answered);
        asked.open.extend(theirs.open);
    }
    platform.resume().await.unwrap();

    let users = platform.users().await;
    let by_name: BTreeMap<&str, &str> = users
        .iter()
        .map(|u| (u["username"].as_str().unwrap(), u["userId"].as_str().unwrap()))
        .collect();
    assert_eq!(by_name.len(), users.len(), "round {round}: a user is there twice");
    for (name, id, _) in &asked.answered {
        assert_eq!(
            by_name.get(name.as_str()),
            Some(&id.as_str()),
            "round {round}: {name} was answered and is lost"
        );
        all.insert(name.clone(), id.clone());
        made.push(id.clone());
    }
    let refused = refused(platform, &asked.answered).await;
    assert!(refused.is_empty(), "round {round}: tokens are lost: {refused:?}");
    for name in &asked.open {
        let Some(id) = by_name.get(name.as_str()) else {
            continue;
        };
        counts.kept += 1;
        let user = platform.user(id).await.unwrap();
        assert_eq!(
            user["tokens"].as_array().map(Vec::len),
            Some(1),
            "round {round}: {name} is half made"
        );
        assert_eq!(
            user["policies"].as_array().map(Vec::len),
            Some(1),
            "round {round}: {name} is half made"
        );
        all.insert(name.clone(), (*id).to_owned());
        made.push((*id).to_owned());
    }
    let theirs: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        by_name.keys().copied().collect::<BTreeSet<_>>(),
        theirs,
        "round {round}: users without a request"
    );
    let mut audit = recorded(platform, since).await;
    audit.sort_unstable();
    made.sort_unstable();
    assert_eq!(audit, made, "round {round}: the audit log and the users differ");
    if span > 5 {
        println!(
            "round {round}: {} answered, {} not",
            asked.answered.len(),
            asked.open.len()
        );
    }
    counts.answered += asked.answered.len();
    counts.open += asked.open.len();
}

/// One after the other: each is to have the machine.
static ONE: Mutex<()> = Mutex::const_new(());

/// `rounds` of `SPAN` seconds, each store for some of them.
async fn rounds(store: &str, rounds: u64, database: impl Fn(u64) -> Option<String>) {
    let _one = ONE.lock().await;
    let span = number("SPAN", 2);
    // Each length has a folder of its own: two of them may run.
    let dir = root().join(format!("target/tests/durability-{store}-{rounds}x{span}"));
    let _ = std::fs::remove_dir_all(&dir);
    let mut counts = Counts::default();
    for first in (0..rounds).step_by(usize::try_from(STORE).unwrap()) {
        let options = Options {
            address: "127.0.0.1".to_owned(),
            organization: "Acme".to_owned(),
            accounts: vec![(PAYMENTS.to_owned(), "payments".to_owned())],
            flags: vec!["--rate-limit".to_owned(), "0".to_owned()],
            database: database(first),
        };
        let folder = dir.join(first.to_string());
        let platform = Arc::new(Platform::start(&folder, options).await.unwrap());
        let mut all = BTreeMap::new();
        for n in first..rounds.min(first + STORE) {
            round(&platform, n, span, &mut all, &mut counts).await;
        }
        platform.stop().await;
    }
    let Counts { answered, open, kept } = counts;
    println!(
        "durability of {store}: {rounds} kills under {WRITERS} writers, {answered} creates answered and all there, {open} not answered, of which {kept} are there and whole"
    );
    assert!(answered > 0 && open > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_changes_survive_a_kill() {
    rounds("SQLite", number("ROUNDS", 3), |_| None).await;
}

/// What is lost with a platform is the same whatever is below it, and PostgreSQL is not ours: a few rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_changes_survive_a_kill_over_postgresql() {
    let some = number("ROUNDS", 3).min(STORE);
    rounds("PostgreSQL", some, |first| {
        Some(postgres::database(&first.to_string()))
    })
    .await;
}
