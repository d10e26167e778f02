//! What others do meanwhile, and what the operator takes for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use programmatic_users::api::{ProgrammaticUser, READY, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::support::process::Memory;
use crate::support::{Operator, PAYMENTS, Platform, World};

/// Less than the chart gives the controller.
const LIMIT: u64 = 256 * 1024 * 1024;
/// A difference below this is the machine's, not the operator's: a turn of two busy cores.
const FLOOR: Duration = Duration::from_millis(100);
/// A wait that takes longer counts as endless.
const PATIENCE: Duration = Duration::from_mins(2);

/// Times by what was done.
#[derive(Default)]
pub struct Times(BTreeMap<&'static str, Vec<Duration>>);

impl Times {
    fn add(&mut self, what: &'static str, took: Duration) {
        self.0.entry(what).or_default().push(took);
    }

    fn median(&self, what: &str) -> Duration {
        let mut all = self.0.get(what).cloned().unwrap_or_default();
        assert!(all.len() >= 4, "{what} was measured {} times", all.len());
        all.sort_unstable();
        all[all.len() / 2]
    }
}

/// Another tenant's user: its object, and where its tokens are accepted.
pub struct Other<'w> {
    pub world: &'w World,
    pub class: &'w str,
    pub platform: &'w Platform,
}

impl Other<'_> {
    /// From `begun` until the object is seen that is `good`.
    async fn seen(&self, name: &str, begun: Instant, good: impl Fn(&ProgrammaticUser) -> bool) -> Duration {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut stream = Box::pin(watcher(self.world.users(), config).applied_objects());
        let seen = async {
            while let Some(user) = stream.try_next().await.unwrap() {
                if good(&user) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, seen).await.is_err() {
            self.world.fail(&format!("{name} waits for {PATIENCE:?}")).await;
        }
        begun.elapsed()
    }

    async fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.world.change(name, patch).await.unwrap();
    }

    /// A user is made, its token is replaced, its token is revoked, and it is deleted.
    pub async fn live(&self, name: &str, times: &mut Times) {
        let begun = Instant::now();
        let user = self.world.user(name).viewer(PAYMENTS).class(self.class);
        user.apply().await;
        times.add("create", self.seen(name, begun, is_ready).await);

        let begun = Instant::now();
        self.annotate(name, ROTATE_AT_ANNOTATION, "1").await;
        let rotated = |user: &ProgrammaticUser| {
            let last = user
                .status
                .as_ref()
                .and_then(|s| s.last_handled_rotate_at.as_deref());
            last == Some("1") && is_ready(user)
        };
        times.add("rotate", self.seen(name, begun, rotated).await);

        let token = self.world.token(name).await;
        assert!(self.accepts(&token).await);
        let begun = Instant::now();
        self.annotate(name, REVOKE_NOW_ANNOTATION, "1").await;
        let mut tick = interval(Duration::from_millis(10));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.accepts(&token).await {
            assert!(begun.elapsed() < PATIENCE, "{name} is not revoked");
            tick.tick().await;
        }
        times.add("revoke", begun.elapsed());
        self.world.delete(name).await;
        self.world.gone(name).await;
    }

    pub async fn accepts(&self, token: &str) -> bool {
        self.platform.get("/setup/account", token).await.status == 200
    }
}

pub fn is_ready(user: &ProgrammaticUser) -> bool {
    let status = user.status.as_ref();
    let mut conditions = status.iter().flat_map(|s| &s.conditions);
    conditions.any(|c| c.type_ == READY && c.status == "True")
}

/// What was tried, and how often the API server took it.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, (u64, u64)>>);

impl Tally {
    pub fn count(&self, what: &'static str, taken: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (yes, no) = all.entry(what).or_default();
        *(if taken { yes } else { no }) += 1;
    }

    pub fn print(&self, [taken, refused]: [&str; 2]) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, (yes, no)) in &*all {
            println!("| {what} | {yes} {taken} | {no} {refused} |");
        }
    }

    pub fn taken(&self, what: &str) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(what).map_or(0, |(yes, _)| *yes)
    }
}

/// Prints what was measured. What others do takes at most `most` times as long as in peace.
pub fn compare(quiet: &Times, hostile: &Times, most: f64, kinds: &[&'static str]) {
    let mut slow = Vec::new();
    println!("| what others do | in peace, median | attacked, median | ratio |\n|---|---|---|---|");
    for what in kinds {
        let (before, after) = (quiet.median(what), hostile.median(what));
        let ratio = after.as_secs_f64() / before.max(FLOOR).as_secs_f64();
        let (before, after) = (before.as_millis(), after.as_millis());
        println!(
            "| {what} ({} and {} times) | {before} ms | {after} ms | {ratio:.2} |",
            quiet.0[what].len(),
            hostile.0[what].len()
        );
        if ratio > most {
            slow.push(format!(
                "{what} takes {ratio:.2} times as long, at most {most} are allowed"
            ));
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

/// The operator is the process that it was, has not panicked, and has stayed below the chart's limit of memory.
pub async fn check_operator(operator: &Operator, id: u32) {
    assert_eq!(
        operator.id().await,
        Some(id),
        "the operator ended:\n{}",
        operator.log_tail(60)
    );
    let memory = Memory::of(id);
    let mebibytes = |bytes: u64| bytes / 1024 / 1024;
    let panics = operator.log().matches("panicked at").count();
    println!(
        "the operator: {} MiB resident, {} MiB at most of {}; 0 restarts, {panics} panics",
        mebibytes(memory.resident),
        mebibytes(memory.most),
        mebibytes(LIMIT)
    );
    assert!(memory.most < LIMIT, "{} MiB", mebibytes(memory.most));
    assert_eq!(panics, 0, "{}", operator.log_tail(60));
    let (status, text) = operator.probe("/livez").await.unwrap();
    assert_eq!(status, 200, "{text}");
}
