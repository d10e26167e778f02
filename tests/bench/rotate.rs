//! Rotation of all users at once, and what their consumers notice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::ROTATE_AT_ANNOTATION;
use serde_json::json;

use crate::bed::{Bed, CONCURRENCY};
use crate::report::Report;
use crate::support::world::World;

/// Consumers, each of which calls so often.
const CONSUMERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// Asks for a new token of each, by this annotation.
pub async fn ask(world: &World, names: &[String], annotation: &str, value: &str) {
    let patch = json!({"metadata": {"annotations": {annotation: value}}});
    let users = world.users();
    futures::stream::iter(names)
        .for_each_concurrent(CONCURRENCY, async |name| {
            let patch = Patch::Merge(&patch);
            users.patch(name, &PatchParams::default(), &patch).await.unwrap();
        })
        .await;
}

/// The newest token of each Secret, as a watch tells.
#[derive(Clone, Default)]
struct Tokens {
    known: Arc<Mutex<HashMap<String, String>>>,
    /// Whether the first list is in: changes during it are reported after it.
    listed: Arc<AtomicBool>,
}

impl Tokens {
    fn get(&self, name: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    fn note(&self, secret: &Secret) {
        let token = secret.data.as_ref().and_then(|d| d.get("SPOTINST_TOKEN"));
        let Some(token) = token.and_then(|t| String::from_utf8(t.0.clone()).ok()) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(secret.name_any(), token);
    }

    async fn follow(self, secrets: Api<Secret>) {
        let stream = watcher(secrets, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret)) => self.note(&secret),
                Ok(watcher::Event::InitDone) => self.listed.store(true, Ordering::Relaxed),
                _ => {}
            }
        }
    }
}

/// The number of requests, and of failed ones.
#[derive(Default)]
struct Calls {
    all: AtomicUsize,
    failed: AtomicUsize,
}

/// Calls with the newest token of one user after the other.
async fn consume(
    bed: &Bed,
    names: &[String],
    tokens: &Tokens,
    first: usize,
    calls: &Calls,
    stop: &AtomicBool,
) {
    let mut tick = tokio::time::interval(PAUSE);
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let name = &names[next % names.len()];
        next += CONSUMERS;
        let token = tokens.get(name).expect("the watch knows all Secrets");
        let answer = bed.world.platform().get("/setup/account", &token).await;
        calls.all.fetch_add(1, Ordering::Relaxed);
        if answer.status != 200 {
            calls.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!(
                "a consumer's call for {name} failed: {} {}",
                answer.status,
                answer.message()
            );
        }
    }
}

pub async fn all(bed: &mut Bed, report: &mut Report) {
    let names = bed.names[..bed.numbers.rotated].to_vec();
    let bed = &*bed;
    let tokens = Tokens::default();
    let watch = tokio::spawn(tokens.clone().follow(bed.world.secrets()));
    bed.world
        .eventually(
            "the watch to know all Secrets",
            Bed::patience(bed.names.len()),
            async || {
                if !tokens.listed.load(Ordering::Relaxed) {
                    return Err("their list is not in".to_owned());
                }
                let missing = names.iter().filter(|n| tokens.get(n).is_none()).count();
                if missing == 0 {
                    Ok(())
                } else {
                    Err(format!("{missing} missing"))
                }
            },
        )
        .await;
    let old: Vec<String> = names.iter().filter_map(|n| tokens.get(n)).collect();
    let (calls, stop) = (Calls::default(), AtomicBool::new(false));
    let mark = bed.world.audit_mark().await;
    let before = bed.platform_calls().await;
    let begin = Instant::now();
    let work = async {
        ask(&bed.world, &names, ROTATE_AT_ANNOTATION, "bench").await;
        bed.eyes
            .rotated(&names, "bench", Bed::patience(names.len()) * 2)
            .await;
        stop.store(true, Ordering::Relaxed);
    };
    let consumers =
        futures::future::join_all((0..CONSUMERS).map(|i| consume(bed, &names, &tokens, i, &calls, &stop)));
    let (_, ()) = futures::join!(consumers, work);
    let last = names
        .iter()
        .filter_map(|n| bed.eyes.of(n).rotated)
        .map(|(_, at)| at)
        .max()
        .unwrap();
    let took = last - begin;
    let made = bed.platform_calls().await - before;
    let writes = bed.world.writes_from(mark).await.len();
    watch.abort();
    let float = |n: usize| f64::from(u32::try_from(n).unwrap());
    let (all, failed) = (calls.all.into_inner(), calls.failed.into_inner());
    let count = float(names.len());
    report.figure("rotated", "users rotated at once", count, "");
    report.figure("rotation", "that took", took.as_secs_f64(), "s");
    report.figure("rotation_rate", "rotations", count / took.as_secs_f64(), "/s");
    report.figure(
        "rotation_writes",
        "writes of the operator for one",
        float(writes) / count,
        "",
    );
    let theirs = usize::try_from(made).unwrap().saturating_sub(all);
    report.figure(
        "rotation_calls",
        "calls to the platform for one",
        float(theirs) / count,
        "",
    );
    report.figure("consumer_calls", "calls of consumers meanwhile", float(all), "");
    report
        .figure("consumer_failed", "of them failed", float(failed), "")
        .at_most(0.0, true);
    let replaced = names
        .iter()
        .zip(&old)
        .filter(|(n, old)| tokens.get(n).as_ref() != Some(old))
        .count();
    assert_eq!(replaced, names.len(), "every user has another token");
    assert!(all > 0 && failed == 0, "{failed} of {all} calls failed");
}
