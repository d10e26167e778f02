//! A tenant with the rights of the chart's requester, and `use` on one class, against another tenant.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::measure::{Other, Tally, Times, check_operator, compare};
use crate::support::cluster::root;
use crate::support::process::Memory;
use crate::support::schema::{self, Random};
use crate::support::{Cluster, PAYMENTS, World, rights};
use crate::{is_whole, span};

/// Lives of the other tenant's users that are measured in peace.
const PEACE: usize = 6;
/// And at most under attack: each takes three of the organization's creates.
const WAR: usize = 30;
/// Objects of a megabyte at one time.
const LARGE_AT_ONCE: usize = 120;

/// The tenant: its rights, and what it tries.
struct Tenant {
    api: Api<DynamicObject>,
    kind: ApiResource,
    class: String,
    tally: Tally,
    until: Instant,
}

/// The rights of the chart's requester in the second namespace, `use` on one class, and the chart's admission policies.
async fn tenant(world: &World) -> Tenant {
    let snapshot = std::fs::read_to_string(root().join("tests/chart/snapshots/default.yaml")).unwrap();
    let policies = snapshot
        .split("\n---\n")
        .filter(|d| d.contains("\nkind: ValidatingAdmissionPolicy"));
    // They know the operator by the account that the chart gives it.
    let (charts, ours) = (
        "system:serviceaccount:pu-system:pu-programmatic-users",
        rights::account(world.operator_namespace()),
    );
    let text = policies
        .collect::<Vec<_>>()
        .join("\n---\n")
        .replace(charts, &ours);
    assert!(text.contains(&ours));
    let apply = ["apply", "--server-side", "-f", "-"];
    world.cluster().kubectl_with(&apply, Some(&text)).unwrap();
    let namespace = &world.namespaces()[1];
    let limited = world
        .class("tenant")
        .for_namespaces(&[namespace])
        .max_users_per_namespace(20);
    let class = limited.apply().await;
    let user = world.unique("tenant");
    let rules = json!([
        {"apiGroups": ["programmatic-users.io"], "resources": ["programmaticusers"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": ["programmatic-users.io"], "resources": ["programmaticuserclasses"], "resourceNames": [class], "verbs": ["use"]},
    ]);
    let role: ClusterRole = of(json!({"metadata": {"name": user}, "rules": rules}));
    world.apply(&role).await.unwrap();
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user});
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]);
    let metadata = json!({"name": user, "namespace": namespace});
    let binding = json!({"metadata": metadata, "roleRef": reference, "subjects": subjects});
    world.apply::<RoleBinding>(&of(binding)).await.unwrap();
    let client = world.cluster().client_of(&user, &["system:authenticated"]).await;
    let kind = ApiResource::erase::<ProgrammaticUser>(&());
    Tenant {
        api: Api::namespaced_with(client, namespace, &kind),
        kind,
        class,
        tally: Tally::default(),
        until: Instant::now(),
    }
}

fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

impl Tenant {
    fn spec(&self, more: &Value) -> Value {
        let mut spec = json!({
            "className": self.class, "scope": "Account",
            "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}]},
        });
        let more = more.as_object().cloned().unwrap_or_default();
        spec.as_object_mut().unwrap().extend(more);
        spec
    }

    /// Whether the API server took it.
    async fn create(&self, what: &'static str, name: &str, annotations: &Value, spec: Value) -> bool {
        let mut object = DynamicObject::new(name, &self.kind).data(json!({"spec": spec}));
        object.metadata.annotations = serde_json::from_value(annotations.clone()).ok();
        let taken = self.api.create(&PostParams::default(), &object).await.is_ok();
        self.tally.count(what, taken);
        taken
    }

    async fn patch(&self, what: &'static str, name: &str, patch: Value) {
        let patched = self
            .api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        self.tally.count(what, patched.is_ok());
    }

    async fn delete(&self, name: &str) {
        let deleted = self.api.delete(name, &DeleteParams::default()).await;
        self.tally.count("deletions", deleted.is_ok());
    }

    /// Does something again and again, at this pace at most, until the attack is over.
    ///
    /// All paces together leave the API server some room: how it shares itself among clients is its own affair (priority and
    /// fairness), and where it has none left, its times are measured and not the operator's.
    async fn repeat(&self, pace: u64, mut act: impl AsyncFnMut(usize)) {
        let mut tick = interval(Duration::from_millis(pace));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut n = 0;
        while Instant::now() < self.until {
            tick.tick().await;
            act(n).await;
            n += 1;
        }
    }

    /// Objects of every shape that the schema admits.
    async fn shapes(&self) {
        let schema = schema::of("programmaticusers.yaml");
        let mut random = Random::new(17);
        self.repeat(100, async |n| {
            let mut spec = schema::value(&schema["properties"]["spec"], &mut random);
            if !spec.is_object() {
                spec = json!({});
            }
            spec["className"] = json!(self.class);
            let name = format!("shape-{}", n % 60);
            self.delete(&name).await;
            self.create("objects of the schema", &name, &Value::Null, spec)
                .await;
        })
        .await;
    }

    /// Users that are made and deleted.
    async fn flood(&self, which: usize) {
        self.repeat(150, async |n| {
            let name = format!("flood-{which}-{n}");
            self.create(
                "users, made and deleted",
                &name,
                &Value::Null,
                self.spec(&json!({})),
            )
            .await;
            self.delete(&name).await;
        })
        .await;
    }

    /// Tokens that are replaced and revoked all the time, of objects that several change at one time.
    async fn churn(&self, who: usize) {
        self.repeat(200, async |n| {
            let name = format!("churn-{}", n % 4);
            let spec = self.spec(&json!({"rotation": {"every": "1h", "overlap": "1m"}}));
            if who == 0 && n < 4 {
                self.create("users that are churned", &name, &Value::Null, spec)
                    .await;
            }
            let value = format!("{who}-{n}");
            let patch = match (n / 4 + who) % 4 {
                0 => json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: value}}}),
                1 => json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: value}}}),
                2 => json!({"spec": {"suspend": n % 2 == 0, "description": value}}),
                _ => json!({"spec": {"displayName": value, "secret": {"name": format!("s-{}", n % 3)}}}),
            };
            self.patch("changes of churned users", &name, patch).await;
        })
        .await;
    }

    /// Objects of a megabyte, or of as much as the API server takes.
    async fn large(&self, total: usize) {
        let pace = span() / u32::try_from(total).unwrap();
        let mut tick = interval(pace);
        for n in 0..total {
            tick.tick().await;
            let name = format!("large-{}", n % LARGE_AT_ONCE);
            if n >= LARGE_AT_ONCE {
                self.delete(&name).await;
            }
            let annotations = |bytes: usize| json!({"example.com/x": "x".repeat(bytes)});
            let keys = |one: &str, times: usize| -> Value {
                (0..16)
                    .map(|i| (format!("example.com/{i}"), json!(one.repeat(times))))
                    .collect()
            };
            let spec = |wide: &str| {
                let template = json!({"annotations": keys(wide, 4096), "data": (0..16).map(|i| (format!("f{i}"), json!(wide.repeat(8192)))).collect::<Value>()});
                self.spec(&json!({"secret": {"template": template}}))
            };
            // Wide characters are one for a limit that counts them, and four bytes.
            let whole = self
                .create(
                    "objects of a megabyte",
                    &name,
                    &annotations(250_000),
                    spec("\u{1f600}"),
                )
                .await;
            if !whole {
                let smaller = self
                    .create("objects of 440 kB", &name, &annotations(250_000), spec("x"))
                    .await;
                if !smaller {
                    self.create(
                        "objects of 250 kB",
                        &name,
                        &annotations(250_000),
                        self.spec(&json!({})),
                    )
                    .await;
                }
            }
        }
    }

    /// Objects that name what does not exist.
    async fn unknown(&self) {
        self.repeat(150, async |n| {
            let name = format!("unknown-{}", n % 40);
            let access = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}], "groups": [{"name": format!("no-{n}")}]});
            if n < 40 {
                self.create("objects of unknown groups", &name, &Value::Null, self.spec(&json!({"access": access}))).await;
            } else {
                self.patch("changes of their groups", &name, json!({"spec": {"access": access}})).await;
            }
        })
        .await;
    }

    /// What once stopped the operator, or gave more than it should.
    async fn known(&self) {
        let digits = format!("{}s", "9".repeat(29));
        let release = json!({"labels": {"owner": "helm", "name": "app", "status": "deployed", "version": "2"}, "data": {"release": "H4sIAAAA"}});
        let proofs = [
            json!({"rotation": {"every": "720h", "windows": [{"cron": "0 3 * 4 SUN", "timeZone": "Australia/Lord_Howe", "duration": "1h"}]}}),
            json!({"rotation": {"every": "720h", "windows": [{"cron": "0 0 29 2 1#5", "timeZone": "UTC", "duration": "168h"}]}}),
            json!({"secret": {"name": "sh.helm.release.v1.app.v2", "template": release}}),
            json!({"secret": {"extraKeys": {"LD_PRELOAD": "endpoint", "NODE_OPTIONS": "organization", "HTTPS_PROXY": "account"}}}),
            json!({"rotation": {"overlap": digits}}),
            json!({"expireAt": "2030-01-01T00:00:00+99:00"}),
            json!({"deletionPolicy": "Retain"}),
            json!({"suspend": true, "deletionPolicy": "Retain"}),
            json!({"scope": "Organization", "access": {"role": "PolicyBased", "policies": [{"id": "1", "accounts": ["*"]}]}}),
        ];
        self.repeat(120, async |n| {
            let name = format!("known-{}", n % proofs.len());
            match n / proofs.len() % 3 {
                0 => drop(
                    self.create(
                        "users for proofs of concept",
                        &name,
                        &Value::Null,
                        self.spec(&json!({})),
                    )
                    .await,
                ),
                1 => {
                    self.patch(
                        "proofs of concept",
                        &name,
                        json!({"spec": proofs[n % proofs.len()]}),
                    )
                    .await;
                }
                _ => self.delete(&name).await,
            }
        })
        .await;
    }

    async fn everything(&self) {
        let large = if is_whole() { 1000 } else { 40 };
        let floods = join_all((0..3).map(|i| self.flood(i)));
        let churns = join_all((0..3).map(|i| self.churn(i)));
        tokio::join!(
            self.shapes(),
            floods,
            churns,
            self.large(large),
            self.unknown(),
            self.known()
        );
    }
}

/// Names, versions and tokens of the other namespace's Secrets that no reconcile has a reason to touch.
async fn untouched(world: &World, names: &[String]) -> Vec<(Secret, String)> {
    let mut all = Vec::new();
    for name in names {
        let secret = world.secrets().get(name).await.unwrap();
        all.push((secret, world.token(name).await));
    }
    all
}

pub async fn attack() {
    let world = World::builder("hostile-tenant")
        .on(Cluster::private("hostile-tenant").await)
        .namespaces(2)
        .drift("15s")
        .platform_flags(&["--rate-limit", "0"])
        .start()
        .await;
    // Creates are there to be used up. Calls are not: where a minute has few of them, each of another namespace's waits for
    // one of the tenant's (`shares` of the operator's tests), which says nothing of the operator's own fairness.
    let limits = json!({"spec": {"limits": {"requestsPerMinute": 60_000, "createsPerHour": 300}}});
    let organizations: Api<programmatic_users::api::Organization> = Api::all(world.client());
    let patch = Patch::Merge(limits);
    organizations
        .patch(world.organization_name(), &PatchParams::default(), &patch)
        .await
        .unwrap();
    let mut tenant = tenant(&world).await;
    let other = Other {
        world: &world,
        class: world.class_name(),
        platform: world.platform(),
    };
    let names: Vec<String> = (0..5).map(|i| format!("steady-{i}")).collect();
    for name in &names {
        world.user(name).viewer(PAYMENTS).apply().await;
        world.ready(name).await;
    }
    let steady = untouched(&world, &names).await;
    let id = world.controller().id().await.unwrap();
    let (mut quiet, mut hostile) = (Times::default(), Times::default());
    other.live("warm", &mut Times::default()).await;
    for i in 0..PEACE {
        other.live(&format!("quiet-{i}"), &mut quiet).await;
    }
    let begun = Instant::now();
    tenant.until = begun + span();
    let measure = async {
        let mut tick = interval(span() / u32::try_from(WAR).unwrap());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A few, however long it takes: who waits for ever is what this looks for.
        for i in 0..WAR {
            tick.tick().await;
            if i >= PEACE && Instant::now() >= tenant.until {
                break;
            }
            other.live(&format!("attacked-{i}"), &mut hostile).await;
        }
    };
    tokio::join!(tenant.everything(), measure);
    println!(
        "a hostile tenant for {} s\n| what it tried | | |\n|---|---|---|",
        begun.elapsed().as_secs()
    );
    tenant.tally.print(["taken", "refused"]);
    for (name, (before, token)) in names.iter().zip(&steady) {
        let now = world.secrets().get(name).await.unwrap();
        assert_eq!(
            now.resource_version(),
            before.resource_version(),
            "the Secret {name} of another namespace"
        );
        assert!(
            other.accepts(token).await,
            "the token of {name} in another namespace"
        );
    }
    check_operator(world.controller(), id).await;
    // All that the tenant left is there when the operator starts, and only then is all of it read at once.
    world.controller().restart().await;
    let id = world.controller().id().await.unwrap();
    println!(
        "started again beside all that: {} MiB at most",
        Memory::of(id).most / 1024 / 1024
    );
    check_operator(world.controller(), id).await;
    assert!(
        tenant.tally.taken("users, made and deleted") > 0,
        "the tenant may do nothing: no attack"
    );
    compare(&quiet, &hostile, 3.0, &["create", "rotate", "revoke"]);
}
