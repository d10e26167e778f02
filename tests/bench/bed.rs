//! The world that is measured, and its processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};

use crate::Numbers;
use crate::eyes::Eyes;
use crate::support::operator::Options;
use crate::support::process::Memory;
use crate::support::{Cluster, Operator, PAYMENTS, World};

/// Requests of a plain client at one time: as many as users of one organization that the operator works on at one time.
pub const CONCURRENCY: usize = 16;
/// This installation's id, so that users can be put there for it.
pub const INSTANCE: &str = "bench2";

/// A world, an operator that watches its first namespace only, and eyes on that.
pub struct Bed {
    pub world: World,
    pub operator: Operator,
    pub eyes: Eyes,
    pub numbers: Numbers,
    /// Names of the users that should be there.
    pub names: Vec<String>,
    /// Seconds between two comparisons of the organization with its platform.
    pub interval: u64,
}

/// A user that the operator made, and its Secret: what others are made like.
pub struct Template {
    pub user: ProgrammaticUser,
    pub secret: Secret,
    pub class: ProgrammaticUserClass,
    pub organization: Organization,
}

impl Bed {
    pub async fn start(numbers: Numbers) -> Self {
        let interval = if numbers.users > 1000 {
            60
        } else if numbers.users > 100 {
            15
        } else {
            3
        };
        let world = World::builder("bench")
            .on(Cluster::private("bench").await)
            .namespaces(2)
            .drift(&format!("{interval}s"))
            .platform_flags(&["--rate-limit", "0"])
            .controller_flags(&["--instance-id", INSTANCE])
            .controller_env("RUST_LOG", "info")
            .controller_stopped()
            .start()
            .await;
        let options = Options {
            watch_namespaces: vec![world.namespace().to_owned()],
            ..world.controller().options().clone()
        };
        let operator = Operator::prepare(world.dir(), "operator", options).unwrap_or_else(|e| panic!("{e}"));
        let eyes = Eyes::on(world.users()).await;
        Self {
            world,
            operator,
            eyes,
            numbers,
            names: vec![],
            interval,
        }
    }

    /// How long a phase with this many users may take at most.
    pub fn patience(users: usize) -> Duration {
        Duration::from_mins(2) + Duration::from_millis(200) * u32::try_from(users).unwrap()
    }

    /// The first user.
    pub async fn template(&mut self) -> Template {
        let [name] = self.claim("first", 1).try_into().unwrap();
        self.apply(&name).await;
        self.eyes
            .ready(std::slice::from_ref(&name), Self::patience(1))
            .await;
        Template {
            user: self.world.get(&name).await,
            secret: self.world.secrets().get(&name).await.unwrap(),
            class: Api::all(self.world.client())
                .get(self.world.class_name())
                .await
                .unwrap(),
            organization: self.world.organization().await,
        }
    }

    /// Names that are not taken yet.
    pub fn claim(&mut self, prefix: &str, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|i| format!("{prefix}-{i:06}")).collect();
        self.names.extend(names.iter().cloned());
        names
    }

    /// All alike but for the name: what one is worth, the others are.
    pub fn object(&self, name: &str) -> ProgrammaticUser {
        let user = self.world.user(name).editor(PAYMENTS);
        user.display_name("bench")
            .description("made to be measured")
            .object()
    }

    /// Applies one; the moment before.
    pub async fn apply(&self, name: &str) -> Instant {
        let begin = Instant::now();
        self.world
            .apply(&self.object(name))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        begin
    }

    /// Applies all, several at one time.
    pub async fn apply_all(&self, names: &[String]) {
        futures::stream::iter(names)
            .for_each_concurrent(CONCURRENCY, async |name| {
                self.apply(name).await;
            })
            .await;
    }

    /// Of the operator.
    pub async fn memory(&self) -> Memory {
        let process = self.operator.id().await.expect("the operator runs");
        Memory::of(process)
    }

    /// Reconciles of users since the operator's start.
    pub async fn reconciles(&self) -> Result<u64, String> {
        let (_, text) = self.operator.probe("/metrics").await?;
        Ok(sum(
            &text,
            "programmatic_users_reconciles_total{",
            "kind=\"ProgrammaticUser\"",
        ))
    }

    /// Requests that the platform has answered on its API since its start.
    pub async fn platform_calls(&self) -> u64 {
        let answer = self.world.platform().get("/metrics", "").await;
        sum(
            answer.body.as_str().expect("metrics are text"),
            "programmatic_users_platform_requests_total{",
            "route=\"/setup",
        )
    }

    /// Seconds of processor time that each part has used up.
    pub async fn processor_time(&self) -> BTreeMap<&'static str, f64> {
        let run = &self.world.cluster().info().run_dir;
        let mut parts = BTreeMap::from([
            ("API server", find(&["kube-apiserver", run])),
            ("etcd", find(&["etcd", run])),
            ("platform", Some(self.world.platform().process_id().await)),
            ("this client", Some(std::process::id())),
        ]);
        if let Some(id) = self.operator.id().await {
            parts.insert("operator", Some(id));
        }
        let used = |id: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // The name, in parentheses, may hold spaces.
            let fields: Vec<&str> = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let ticks = |i: usize| {
                fields
                    .get(i)
                    .and_then(|t| t.parse::<u32>().ok())
                    .unwrap_or_default()
            };
            // In hundredths of a second on every Linux there is.
            f64::from(ticks(11) + ticks(12)) / 100.0
        };
        parts
            .into_iter()
            .filter_map(|(name, id)| Some((name, used(id?))))
            .collect()
    }

    /// Name and labels of the template's Secret without what the API server gave it.
    pub fn plain_secret(template: &Secret, namespace: &str, name: &str) -> Secret {
        let mut secret = template.clone();
        let metadata = &mut secret.metadata;
        metadata.managed_fields = None;
        metadata.resource_version = None;
        metadata.uid = None;
        metadata.creation_timestamp = None;
        metadata.name = Some(name.to_owned());
        metadata.namespace = Some(namespace.to_owned());
        secret
    }

    /// The namespace without a watch.
    pub fn spare_namespace(&self) -> &str {
        &self.world.namespaces()[1]
    }
}

impl Template {
    /// Another name in place of the template's own.
    pub fn renamed(&self, text: &str, name: &str) -> String {
        text.replace(&self.user.name_any(), name)
    }
}

/// All series of a metric with that label, added up.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let wanted = text
        .lines()
        .filter(|l| l.starts_with(metric) && l.contains(label));
    wanted
        .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The process whose command line begins with a program of this name and names the folder.
fn find(words: &[&str; 2]) -> Option<u32> {
    let all = std::fs::read_dir("/proc").ok()?;
    all.flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
        let program = line.split('\0').next()?.rsplit('/').next()?;
        (program == words[0] && line.contains(words[1])).then_some(id)
    })
}
