//! How a plan has to end, and what of the world must not have changed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{
    Consumers, DeletionPolicy, Duration, HISTORY_REWOUND, NONCE_ANNOTATION, READY, RETAINED_USER_LABEL,
    ROTATE_AT_ANNOTATION, Restart, Rotation, STAGING_LABEL, STALLED, USER_ID_ANNOTATION,
};
use programmatic_users::plan::Marker;
use serde_json::{Value, json};

use super::flow::{End, Flow};
use crate::support::builders::named;
use crate::support::observe::{condition, conditions, values};
use crate::support::proxy::digest;
use crate::support::wait::eventually;
use crate::support::workloads::{deployment, env_from, runs, spec};
use crate::support::{PAYMENTS, UserBuilder, World, pod};

/// The user of every plan, and its Secret.
pub const NAME: &str = "ci";
/// A foreign Secret, and a foreign user.
const BYSTANDER: &str = "bystander";
/// A Deployment that reads the Secret.
const READER: &str = "reader";
/// Pods that end on request.
const LOOP: &str = "trap 'exit 0' TERM; while true; do sleep 0.2; done";
/// A pod comes late on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(2);

/// What is wanted in one plan.
pub struct Wanted {
    flow: Flow,
    /// Ids of policies and groups: of the first wish, and of the second.
    policies: Vec<String>,
    groups: Vec<String>,
    /// As they were at the beginning.
    bystanders: (Option<String>, Value),
    /// The first user's attempt.
    first: String,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Wanted {
    pub async fn prepare(world: &World, flow: Flow) -> Result<Self, String> {
        let platform = world.platform();
        let mut wanted = Self {
            flow,
            policies: vec![],
            groups: vec![],
            bystanders: (None, Value::Null),
            first: String::new(),
        };
        if matches!(flow, Flow::Mapped | Flow::Regrant) {
            let content = json!({"statements": [{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]});
            for name in ["first", "second"] {
                wanted.policies.push(platform.make_policy(name, &content).await);
                let body = json!({"name": name, "userIds": [], "policies": []});
                let made = platform
                    .post("/setup/access/userGroup", &platform.admin_token, &body)
                    .await;
                let id = made.items()[0]["id"].as_str().unwrap_or_default().to_owned();
                wanted.groups.push(id);
            }
        }
        let body = json!({"name": BYSTANDER, "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
        let made = platform
            .post("/setup/user/programmatic", &platform.admin_token, &body)
            .await;
        if made.status != 200 {
            return Err(made.message());
        }
        foreign(world, BYSTANDER).await?;
        wanted.bystanders = wanted.others(world).await?;
        Ok(wanted)
    }

    /// The object as it is applied first.
    pub fn user<'w>(&self, world: &'w World) -> UserBuilder<'w> {
        let user = world.user(NAME);
        match self.flow {
            Flow::Mapped | Flow::Regrant => user.policy_based(PAYMENTS).policy("first").group("first"),
            flow => user.editor(PAYMENTS).with(|spec| {
                if flow == Flow::Restart {
                    let restart = Restart::OnRotation;
                    spec.consumers = Some(Consumers { restart });
                }
                if flow == Flow::Retain {
                    spec.deletion_policy = DeletionPolicy::Retain;
                }
                let overlap = Duration::parse("1s");
                spec.rotation = Some(Rotation {
                    overlap,
                    ..Rotation::default()
                });
            }),
        }
    }

    /// The user that is Ready now is the first.
    pub async fn remember(&mut self, world: &World) -> Result<(), String> {
        let user = world.users().get(NAME).await.map_err(text)?;
        let current = user.status.and_then(|s| s.journal.current);
        self.first = current.ok_or("no current attempt")?.nonce;
        if self.flow == Flow::Restart {
            pod::image(world.cluster()).await?;
            let reader = spec(READER, &runs(LOOP, &env_from(NAME)), &json!({}));
            deployment(world, READER, reader).await;
            let running = || async { reader_is(world, 1).await };
            eventually("the Deployment to run", PATIENCE, running).await?;
        }
        Ok(())
    }

    /// Asks for another user in place of the first.
    pub async fn rotate(&self, world: &World) -> Result<(), String> {
        let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "now"}}});
        world.change(NAME, rotate).await
    }

    /// Asks for other policies and groups.
    pub async fn regrant(&self, world: &World) -> Result<(), String> {
        let user = world.user(NAME).policy_based(PAYMENTS);
        user.policy("second").group("second").try_apply().await.map(drop)
    }

    /// A person creates a Secret of the user's name.
    pub async fn take_secret(&self, world: &World) -> Result<(), String> {
        foreign(world, NAME).await
    }

    /// The foreign Secret and user, as they are now.
    async fn others(&self, world: &World) -> Result<(Option<String>, Value), String> {
        let secret = world.secrets().get(BYSTANDER).await.map_err(text)?;
        let users = world.platform().users().await;
        let user = users.into_iter().find(|u| u["username"] == BYSTANDER);
        Ok((secret.resource_version(), user.unwrap_or_default()))
    }

    /// Whether all is as it has to be; otherwise what is not. `first`: before the second wish.
    pub async fn holds(&self, world: &World, end: End, first: bool) -> Result<(), String> {
        if self.others(world).await? != self.bystanders {
            return Err("S6, S12: a foreign Secret or user was touched".to_owned());
        }
        let users = world.platform().users().await;
        let ours: Vec<&Value> = users
            .iter()
            .filter(|u| u["username"].as_str().is_some_and(|n| Marker::parse(n).is_some()))
            .collect();
        let user = world.users().get_opt(NAME).await.map_err(text)?;
        let secret = world.secrets().get_opt(NAME).await.map_err(text)?;
        if end == End::Gone {
            let left = [user.is_some(), secret.is_some(), !ours.is_empty()];
            if left == [false; 3] {
                return Ok(());
            }
            let reported = user.map(|u| conditions(&u.status.unwrap_or_default().conditions));
            return Err(format!(
                "object, Secret, platform's user are left: {left:?}; {}",
                reported.unwrap_or_default()
            ));
        }
        if end == End::Kept {
            return self.kept(world, user.is_some(), secret, &ours).await;
        }
        let user = user.ok_or("the object is gone")?;
        let status = user.status.clone().unwrap_or_default();
        let reported = conditions(&status.conditions);
        let journal = &status.journal;
        if journal.pending.is_some() || !journal.abandoned.is_empty() {
            return Err(format!("the journal is not at rest: {journal:?}; {reported}"));
        }
        if end == End::Conflict {
            let stalled = condition(&user, STALLED).is_some_and(|c| c.reason == "SecretConflict");
            let untouched =
                secret.is_some_and(|s| s.owner_references().is_empty() && s.annotations().is_empty());
            return if stalled && untouched && ours.is_empty() && journal.current.is_none() {
                Ok(())
            } else {
                Err(format!(
                    "Stalled {stalled}, Secret untouched {untouched}, users {ours:?}; {reported}"
                ))
            };
        }
        let ready = condition(&user, READY).is_some_and(|c| c.status == "True");
        if !ready || status.observed_generation != user.metadata.generation {
            return Err(reported);
        }
        let current = journal
            .current
            .as_ref()
            .ok_or("Ready without a current attempt")?;
        if self.flow.rotates() && !first && current.nonce == self.first {
            return Err("the first user is still the current one".to_owned());
        }
        if !journal.retiring.is_empty() {
            return Err(format!("an overlap is not over: {journal:?}"));
        }
        nothing_staged(world).await?;
        let secret = secret.ok_or("Ready without a Secret")?;
        let annotation = |key: &str| secret.annotations().get(key).cloned().unwrap_or_default();
        let carried = (annotation(NONCE_ANNOTATION), annotation(USER_ID_ANNOTATION));
        if carried != (current.nonce.clone(), current.user_id.clone()) {
            return Err(format!("the Secret carries {carried:?}, current is {current:?}"));
        }
        let mut ids: Vec<&str> = ours.iter().filter_map(|u| u["userId"].as_str()).collect();
        if end == End::Reported {
            let strays = ids.len().saturating_sub(1);
            let message = condition(&user, HISTORY_REWOUND).map(|c| c.message.clone());
            let is_reported = |id: &str| message.as_ref().is_some_and(|m| m.contains(id));
            ids.retain(|id| *id == current.user_id || !is_reported(id));
            if strays != 1 {
                return Err(format!("{strays} users besides the current one"));
            }
        }
        if ids != [current.user_id.as_str()] {
            return Err(format!(
                "current is {}, the platform has {ids:?}",
                current.user_id
            ));
        }
        let token = values(&secret).remove("SPOTINST_TOKEN").unwrap_or_default();
        world.remember_token("Secret ci", &token);
        if !world.platform().accepts(&token).await {
            return Err(format!(
                "the platform does not accept the token of digest {}",
                digest(token.as_bytes())
            ));
        }
        if self.flow == Flow::Restart && !first {
            reader_is(world, 2).await?;
        }
        self.mapped(world, &current.user_id, first).await
    }

    /// Whether the user of before stays without its object, and is recorded.
    async fn kept(
        &self,
        world: &World,
        object: bool,
        secret: Option<Secret>,
        ours: &[&Value],
    ) -> Result<(), String> {
        let secret = secret.ok_or("the Secret is gone")?;
        let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
        let labelled = ListParams::default().labels(RETAINED_USER_LABEL);
        let records = own.list_metadata(&labelled).await.map_err(text)?.items;
        let nonces: Vec<_> = records
            .iter()
            .map(|r| r.annotations().get(NONCE_ANNOTATION))
            .collect();
        let owned = !secret.owner_references().is_empty();
        let token = values(&secret).remove("SPOTINST_TOKEN").unwrap_or_default();
        let works = world.platform().accepts(&token).await;
        if !object && !owned && works && ours.len() == 1 && nonces == [Some(&self.first)] {
            return Ok(());
        }
        Err(format!(
            "object {object}, Secret owned {owned}, token works {works}, {} users, records of {nonces:?}, first {}",
            ours.len(),
            self.first
        ))
    }

    /// Whether policies and groups are those that were asked for last.
    async fn mapped(&self, world: &World, id: &str, first: bool) -> Result<(), String> {
        let wish = match self.flow {
            Flow::Regrant if !first => 1,
            Flow::Mapped | Flow::Regrant => 0,
            _ => return Ok(()),
        };
        let user = world
            .platform()
            .user(id)
            .await
            .map_err(|code| format!("{id}: {code}"))?;
        let has = |list: &str, key: &str| -> Vec<String> {
            let items = user[list].as_array().into_iter().flatten();
            items.filter_map(|i| i[key].as_str()).map(str::to_owned).collect()
        };
        let (policies, groups) = (has("policies", "policyId"), has("groups", "id"));
        if policies == [self.policies[wish].clone()] && groups == [self.groups[wish].clone()] {
            Ok(())
        } else {
            Err(format!("{id} has policies {policies:?} and groups {groups:?}"))
        }
    }
}

async fn nothing_staged(world: &World) -> Result<(), String> {
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let labelled = ListParams::default().labels(STAGING_LABEL);
    let staged = own.list_metadata(&labelled).await.map_err(text)?;
    match staged.items.first() {
        Some(staged) => Err(format!("{} is still staged", staged.name_any())),
        None => Ok(()),
    }
}

/// Whether the Deployment's template is of this generation, and its one pod of that: made, and changed once.
async fn reader_is(world: &World, generation: i64) -> Result<(), String> {
    let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
    let reader = deployments.get(READER).await.map_err(text)?;
    let status = reader.status.unwrap_or_default();
    let pods = [
        status.replicas,
        status.updated_replicas,
        status.available_replicas,
    ];
    if reader.metadata.generation == Some(generation)
        && status.observed_generation == Some(generation)
        && pods == [Some(1); 3]
    {
        return Ok(());
    }
    let seen = reader.metadata.generation;
    Err(format!(
        "{READER} is of generation {seen:?}, and not {generation}; pods, new ones, available: {pods:?}"
    ))
}

async fn foreign(world: &World, name: &str) -> Result<(), String> {
    let secret = Secret {
        metadata: named(name, world.namespace()),
        string_data: Some([("note".to_owned(), "mine".to_owned())].into()),
        ..Secret::default()
    };
    let made = world.secrets().create(&PostParams::default(), &secret).await;
    made.map(drop).map_err(text)
}
