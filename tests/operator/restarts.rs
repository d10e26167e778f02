//! Pods that use a token all the time, through rotations that restart their workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{ProgrammaticUser, RESTARTING_CONSUMERS, SecretKeys, WorkloadKind};
use serde_json::json;

use crate::consumers::{on_rotation, rotate, waits};
use crate::support::observe::condition;
use crate::support::wait::eventually;
use crate::support::workloads::{daemon_set, deployment, env_from, runs, spec, stateful_set};
use crate::support::{PAYMENTS, World, pod};

const USERS: [&str; 3] = ["first", "second", "third"];
const ROUNDS: usize = 4;
/// A round restarts two workloads of each user, one after the other, on a small machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Calls all the time, and for two more seconds after SIGTERM.
const CALLS: &str = r#"
calls=0; failed=0; end=
trap 'end=$(($(date +%s) + 2))' TERM
while [ -z "$end" ] || [ "$(date +%s)" -lt "$end" ]; do
  calls=$((calls + 1))
  if ! said=$(wget -q -O - --header "Authorization: Bearer $SPOTINST_TOKEN" \
    "$SPOTINST_ENDPOINT/aws/ec2/group?accountId=$SPOTINST_ACCOUNT" 2>&1 >/dev/null); then
    failed=$((failed + 1)); echo "FAILED $said"
  fi
  sleep 0.2
done
echo "ENDED $calls $failed"
"#;

/// A user whose token was replaced, and the pods that had it.
struct Old {
    user_id: String,
    pods: BTreeSet<String>,
}

/// What is looked at while everything goes on.
#[derive(Default)]
struct Watch {
    old: Mutex<Vec<Old>>,
    /// What must not be.
    wrong: Mutex<Vec<String>>,
    looks: Mutex<usize>,
    /// The last rotation is.
    over: AtomicBool,
    /// The test has ended.
    looked: AtomicBool,
}

/// Name and UID: the pod of a `StatefulSet` has the same name again.
fn id(pod: &Pod) -> String {
    format!("{} {}", pod.name_any(), pod.uid().unwrap_or_default())
}

/// Whether a pod's containers may run.
fn may_run(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_going(generation: Option<i64>, observed: Option<i64>, wanted: i32, counts: [Option<i32>; 2]) -> bool {
    observed < generation || counts.iter().any(|n| n.unwrap_or_default() != wanted)
}

impl Watch {
    fn fault(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// A user that is gone was there as long as any pod with its token: users are read before pods.
    async fn look(&self, world: &World, pods: &Api<Pod>) {
        let users = world.platform().users().await;
        let alive: BTreeSet<&str> = users.iter().filter_map(|u| u["userId"].as_str()).collect();
        let listed = pods.list(&ListParams::default()).await.unwrap();
        let running: BTreeSet<String> = listed.items.iter().filter(|p| may_run(p)).map(id).collect();
        for old in &*self.old.lock().unwrap() {
            let left: Vec<_> = old.pods.intersection(&running).collect();
            if !alive.contains(old.user_id.as_str()) && !left.is_empty() {
                self.fault(format!("user {} is gone, and {left:?} still run", old.user_id));
            }
        }
        // Of the two workloads of the second user, one is restarted at a time.
        let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
        let sets: Api<StatefulSet> = Api::namespaced(world.client(), world.namespace());
        let (d, s) = tokio::join!(deployments.get("second"), sets.get("second-set"));
        let (d, s) = (d.unwrap(), s.unwrap());
        let (of_d, of_s) = (d.status.unwrap_or_default(), s.status.unwrap_or_default());
        let d_goes = is_going(
            d.metadata.generation,
            of_d.observed_generation,
            2,
            [of_d.updated_replicas, of_d.replicas],
        );
        let s_goes = is_going(
            s.metadata.generation,
            of_s.observed_generation,
            1,
            [of_s.updated_replicas.or(Some(1)), of_s.ready_replicas],
        );
        if d_goes && s_goes {
            self.fault("both workloads of the second user are being restarted".to_owned());
        }
        *self.looks.lock().unwrap() += 1;
    }
}

/// Follows what every pod says until it ends.
async fn listen(world: &World, pods: &Api<Pod>, over: &AtomicBool) -> BTreeMap<String, String> {
    let mut heard = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        for pod in pods.list(&ListParams::default()).await.unwrap().items {
            let (name, id) = (pod.name_any(), id(&pod));
            let statuses = pod
                .status
                .iter()
                .flat_map(|s| s.container_statuses.iter().flatten());
            let runs = statuses
                .into_iter()
                .any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()));
            if runs && !heard.contains_key(&id) {
                let (cluster, namespace) = (world.cluster(), world.namespace().to_owned());
                let follow = move || cluster.kubectl(&["-n", &namespace, "logs", "-f", &name]);
                heard.insert(id, tokio::task::spawn_blocking(follow));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut said = BTreeMap::new();
    for (name, task) in heard {
        said.insert(
            name,
            task.await
                .unwrap()
                .unwrap_or_else(|error| format!("LOST {error}")),
        );
    }
    said
}

/// Workloads of all three kinds; each user's token is in two or one of them.
async fn make_workloads(world: &World) {
    let calls = |user: &str| runs(CALLS, &env_from(user));
    for user in USERS {
        deployment(world, user, spec(user, &calls(user), &json!({"replicas": 2}))).await;
    }
    let set = json!({"replicas": 1, "serviceName": "none"});
    stateful_set(world, "second-set", spec("second-set", &calls("second"), &set)).await;
    daemon_set(world, "third-set", spec("third-set", &calls("third"), &json!({}))).await;
    // What has no pods is not touched.
    deployment(
        world,
        "empty",
        spec("empty", &calls("first"), &json!({"replicas": 0})),
    )
    .await;
}

/// Pods of a user's workloads that may run.
async fn pods_of(pods: &Api<Pod>, user: &str) -> BTreeSet<String> {
    let apps = format!("app in ({user},{user}-set)");
    let listed = pods.list(&ListParams::default().labels(&apps)).await.unwrap();
    listed.items.iter().filter(|p| may_run(p)).map(id).collect()
}

fn is_over(user: &ProgrammaticUser) -> Result<(), String> {
    let status = user.status.as_ref().unwrap();
    let outdated: Vec<_> = status
        .consumers
        .iter()
        .filter(|c| c.outdated)
        .map(|c| &c.name)
        .collect();
    let restarting = condition(user, RESTARTING_CONSUMERS).map(|c| c.message.clone());
    if status.journal.retiring.is_empty() && outdated.is_empty() && restarting.is_none() {
        Ok(())
    } else {
        Err(format!(
            "{outdated:?} {restarting:?} {:?}",
            status.journal.retiring
        ))
    }
}

/// Replaces the token of one user, and waits until nothing has the old one.
async fn replace(world: &World, pods: &Api<Pod>, watch: &Watch, user: &str, round: usize) -> Duration {
    let user_id = world.get(user).await.status.unwrap().user_id.unwrap();
    let before = pods_of(pods, user).await;
    watch.old.lock().unwrap().push(Old {
        user_id,
        pods: before.clone(),
    });
    let began = Instant::now();
    rotate(world, user, &round.to_string()).await;
    world
        .eventually(&format!("{user} to have new pods only"), PATIENCE, async || {
            is_over(&world.get(user).await)
        })
        .await;
    let took = began.elapsed();
    let now = pods_of(pods, user).await;
    let same: Vec<_> = now.intersection(&before).collect();
    assert!(same.is_empty(), "{same:?} still run");
    took
}

/// Answers of the platform with this code.
async fn answered(world: &World, code: u16) -> u64 {
    let text = reqwest::get(format!("{}/metrics", world.platform().url()))
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    let counts = text
        .lines()
        .filter(|l| l.starts_with("programmatic_users_platform_requests_total{"));
    let of = counts.filter(|l| l.contains(&format!("code=\"{code}\"")));
    of.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[expect(clippy::too_many_lines, reason = "one story, in its order")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_call_all_the_time_see_no_failure_and_the_old_user_dies_after_the_last_old_pod() {
    let world = World::builder("restarts")
        .restarts_consumers()
        .reachable_from_pods()
        .start()
        .await;
    if !world.cluster().has_node() {
        println!("no pods run here ({})", world.cluster().info().node_reason);
        return;
    }
    pod::image(world.cluster()).await.unwrap();
    for user in USERS {
        world
            .user(user)
            .viewer(PAYMENTS)
            .with(|s| {
                (s.rotation, s.consumers) = (Some(waits("1s", "30m")), Some(on_rotation()));
                s.secret.keys = Some(SecretKeys {
                    endpoint: Some("SPOTINST_ENDPOINT".to_owned()),
                    ..SecretKeys::default()
                });
            })
            .apply()
            .await;
        world.ready(user).await;
    }
    make_workloads(&world).await;
    let rollouts = [
        "deployment/first",
        "deployment/second",
        "deployment/third",
        "statefulset/second-set",
        "daemonset/third-set",
    ];
    for workload in rollouts {
        let args = [
            "-n",
            world.namespace(),
            "rollout",
            "status",
            workload,
            "--timeout=120s",
        ];
        world.cluster().kubectl(&args).unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(world.client(), world.namespace());
    let watch = Watch::default();
    let rounds = async {
        let mut spans = Vec::new();
        for round in 0..ROUNDS {
            let all = join_all(USERS.map(|user| replace(&world, &pods, &watch, user, round)));
            if round == 2 {
                // In the middle of the restarts the controller is killed.
                let killed = async {
                    let begun = |u: &ProgrammaticUser| condition(u, RESTARTING_CONSUMERS).is_some();
                    world
                        .until("second", "to be restarting its consumers", begun)
                        .await;
                    world.controller().restart().await;
                };
                let (all, ()) = tokio::join!(all, killed);
                spans.extend(all);
            } else {
                spans.extend(all.await);
            }
        }
        watch.over.store(true, Ordering::Relaxed);
        spans
    };
    let delete_all = || {
        for workload in rollouts {
            let args = ["-n", world.namespace(), "delete", workload, "--wait=false"];
            world.cluster().kubectl(&args).unwrap();
        }
    };
    let looking = async {
        while !watch.over.load(Ordering::Relaxed) {
            watch.look(&world, &pods).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The last pods end, too, and tell what they saw.
        delete_all();
        watch.looked.store(true, Ordering::Relaxed);
    };
    let hearing = listen(&world, &pods, &watch.looked);
    let all = AssertUnwindSafe(async { tokio::join!(rounds, looking, hearing) });
    let (mut spans, (), heard) = Box::pin(all.catch_unwind()).await.unwrap_or_else(|panic| {
        // Each listener follows its pod to the end.
        delete_all();
        std::panic::resume_unwind(panic)
    });

    spans.sort();
    let (mut calls, mut ended) = (0, 0);
    let mut failures = Vec::new();
    for (pod, said) in &heard {
        failures.extend(
            said.lines()
                .filter(|l| l.starts_with("FAILED"))
                .map(|l| format!("{pod}: {l}")),
        );
        if let Some(end) = said.lines().find_map(|l| l.strip_prefix("ENDED ")) {
            calls += end.split(' ').next().unwrap().parse::<u64>().unwrap();
            ended += 1;
        }
    }
    let (refused, taken) = (
        answered(&world, 401).await + answered(&world, 403).await,
        answered(&world, 200).await,
    );
    println!(
        "restarts: {} rotations, {} pods, {calls} calls of the {ended} that reported their number, {} failed, {refused} refused by the platform; {} looks; a rotation with its restarts took {:.1} s in the middle, {:.1} s at most",
        spans.len(),
        heard.len(),
        failures.len(),
        watch.looks.lock().unwrap(),
        spans[spans.len() / 2].as_secs_f64(),
        spans.last().unwrap().as_secs_f64()
    );
    assert!(spans.len() >= 10 && calls > 500 && ended > 20 && taken > 500);
    failures.truncate(5);
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(refused, 0, "calls were refused");
    assert_eq!(*watch.wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(world.platform().users().await.len(), USERS.len());
    let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
    let empty = deployments.get("empty").await.unwrap();
    assert_eq!(
        empty.metadata.generation,
        Some(1),
        "what has no pods was not restarted"
    );
    let listed = world.get("first").await.status.unwrap().consumers;
    assert!(
        listed
            .iter()
            .any(|c| c.kind == WorkloadKind::Deployment && c.name == "empty")
    );
    assert!(world.leaks().await.is_empty());
    eventually("the pods to go", PATIENCE, async || {
        match pods.list(&ListParams::default()).await {
            Ok(list) if list.items.is_empty() => Ok(()),
            Ok(list) => Err(format!("{} are left", list.items.len())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}
