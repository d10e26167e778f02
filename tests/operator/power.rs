//! Platform admin, class-admin, class, object: what the class says holds whatever a tenant writes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{
    CLASS_FINALIZER, DeletionPolicy, ORGANIZATION_FINALIZER, OnRevoked, Organization, ProgrammaticUserClass,
    RETAINED_USER_LABEL, REVOKE_NOW_ANNOTATION,
};
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::proxy::{Act, Seen};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

fn classes(world: &World) -> Api<ProgrammaticUserClass> {
    Api::all(world.client())
}

async fn change_class(world: &World, class: &str, spec: Value) {
    let change = Patch::Merge(json!({ "spec": spec }));
    classes(world)
        .patch(class, &PatchParams::default(), &change)
        .await
        .unwrap();
}

/// A class that revokes what it does not allow, and that allows suspension and retention.
async fn revoking(world: &World, name: &str) -> String {
    let class = world.class(name).with(|spec| spec.on_revoked = OnRevoked::Revoke);
    class.apply().await
}

async fn ready_user(world: &World, name: &str, class: &str) -> String {
    world.user(name).viewer(PAYMENTS).class(class).apply().await;
    world.ready(name).await;
    world.token(name).await
}

async fn dead(world: &World, token: &str) {
    world
        .eventually("the token to be dead", SOON, async || {
            if world.platform().accepts(token).await {
                Err("it works".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
}

/// Waits until an object that this version may be unable to read is not ready for this reason; all of it.
async fn not_ready(world: &World, name: &str, reason: &str) -> kube::core::DynamicObject {
    let wanted = |c: &Value| c["type"] == "Ready" && c["status"] == "False" && c["reason"] == reason;
    world
        .eventually(&format!("{name} to tell {reason}"), SOON, async || {
            let object = world.raw_users().get(name).await.map_err(|e| e.to_string())?;
            let conditions = object.data["status"]["conditions"].as_array().cloned();
            if conditions.iter().flatten().any(wanted) {
                Ok(object)
            } else {
                Err(format!("{conditions:?}"))
            }
        })
        .await
}

/// Writes what this version cannot read, once the API server takes it.
async fn poison(world: &World, name: &str, spec: &Value) {
    world
        .eventually("the API server to take it", SOON, async || {
            world.change(name, json!({ "spec": spec })).await
        })
        .await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_withdrawn_revoked_expired_and_deleted() {
    let cluster = Cluster::private("unreadable").await;
    let world = World::builder("unreadable").on(cluster).start().await;
    let class = revoking(&world, "revoking").await;
    let overlap = json!({"rotation": {"overlap": "99999999999999999999999999999s"}});
    let expire_at = json!({"expireAt": "2030-01-01T00:00:00+99:00"});
    let mut tokens = Vec::new();
    for name in ["withdrawn", "revoked", "deleted", "expired", "status"] {
        tokens.push(ready_user(&world, name, &class).await);
    }
    cluster.loosen().unwrap();
    for (name, spec) in [
        ("withdrawn", &overlap),
        ("revoked", &expire_at),
        ("deleted", &expire_at),
        ("expired", &overlap),
    ] {
        poison(&world, name, spec).await;
        let said = not_ready(&world, name, "InvalidSpec").await.data["status"].to_string();
        assert!(said.contains("cannot read this object in full"), "{said}");
    }
    // That alone loses nothing, and the operator manages the others.
    for token in &tokens {
        assert!(world.platform().accepts(token).await);
    }
    ready_user(&world, "good", &class).await;

    let annotation = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "1"}}});
    world.change("revoked", annotation).await.unwrap();
    dead(&world, &tokens[1]).await;
    world.delete("deleted").await;
    world.gone("deleted").await;
    dead(&world, &tokens[2]).await;
    let expired = json!({"spec": {"expireAt": "2026-01-01T00:00:00Z"}});
    world.change("expired", expired).await.unwrap();
    not_ready(&world, "expired", "Expired").await;
    dead(&world, &tokens[3]).await;

    // Of a status that cannot be read, nothing is decided and nothing written over.
    let status = Patch::Merge(json!({"status": {"tokenIssuedAt": "2026-01-05T10:11:12+99:99"}}));
    world
        .raw_users()
        .patch_status("status", &PatchParams::default(), &status)
        .await
        .unwrap();
    world.controller().stop().await;
    world.controller().resume().await.unwrap();
    let found = not_ready(&world, "status", "JournalInvalid").await;
    assert_eq!(found.data["status"]["tokenIssuedAt"], "2026-01-05T10:11:12+99:99");
    assert!(found.data["status"]["journal"]["current"].is_object());
    assert!(world.platform().accepts(&tokens[4]).await);

    change_class(&world, &class, json!({"namespaces": {"matchNames": []}})).await;
    not_ready(&world, "withdrawn", "NotAllowed").await;
    dead(&world, &tokens[0]).await;
}

#[tokio::test]
async fn a_suspended_object_does_not_outlive_what_its_class_allows() {
    let world = World::new("not-suspended").await;
    // Allowed, and withdrawn.
    let class = revoking(&world, "allows").await;
    let token = ready_user(&world, "resting", &class).await;
    let revoked = ready_user(&world, "revoked", &class).await;
    for name in ["resting", "revoked"] {
        world
            .change(name, json!({"spec": {"suspend": true}}))
            .await
            .unwrap();
        world
            .until(name, "to rest", |u| {
                let all = u.status.iter().flat_map(|s| &s.conditions);
                all.clone().any(|c| c.type_ == "Suspended" && c.status == "True")
            })
            .await;
    }
    let annotation = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "1"}}});
    world.change("revoked", annotation).await.unwrap();
    dead(&world, &revoked).await;
    let new = world.token("revoked").await;
    assert!(new != revoked && world.platform().accepts(&new).await);
    assert!(world.platform().accepts(&token).await);
    change_class(&world, &class, json!({"namespaces": {"matchNames": []}})).await;
    for token in [token, new] {
        dead(&world, &token).await;
    }
    world.stalled("resting", "NotAllowed").await;

    // Not allowed: the operator reconciles it like any other, and it says so.
    let class = world
        .class("forbids")
        .with(|spec| spec.allow.suspend = false)
        .apply()
        .await;
    world
        .user("busy")
        .viewer(PAYMENTS)
        .class(&class)
        .with(|spec| spec.suspend = true)
        .apply()
        .await;
    let user = world.ready("busy").await;
    let conditions = user.status.unwrap().conditions;
    let suspended = conditions.iter().find(|c| c.type_ == "Suspended").unwrap();
    assert_eq!(
        (suspended.status.as_str(), suspended.reason.as_str()),
        ("False", "NotAllowed")
    );
    assert!(
        suspended.message.contains("allow.suspend: true"),
        "{}",
        suspended.message
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_replaced_ends_at_the_maximum_age() {
    let world = World::new("too-old").await;
    let class = world.class("aged").apply().await;
    let mut tokens = Vec::new();
    for name in ["kept", "suspended", "conflict"] {
        tokens.push(ready_user(&world, name, &class).await);
    }
    world
        .change("suspended", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    let conflict = json!({"spec": {"secret": {"name": "theirs"}}});
    world
        .secrets()
        .create(
            &kube::api::PostParams::default(),
            &Secret {
                metadata: crate::support::builders::named("theirs", world.namespace()),
                ..Secret::default()
            },
        )
        .await
        .unwrap();
    world.change("conflict", conflict).await.unwrap();
    world.stalled("conflict", "SecretConflict").await;
    change_class(&world, &class, json!({"rotation": {"maxAge": "25s"}})).await;
    world.stalled("kept", "NotAllowed").await;
    for token in &tokens {
        assert!(
            world.platform().accepts(token).await,
            "it has that long from then on"
        );
    }
    for (name, token) in ["kept", "suspended", "conflict"].into_iter().zip(&tokens) {
        let said = world.stalled(name, "TooOld").await;
        assert!(said.contains("rotation.maxAge"), "{said}");
        dead(&world, token).await;
    }
}

/// What is recorded of retained users.
async fn records(world: &World) -> Vec<Secret> {
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let labelled = ListParams::default().labels(RETAINED_USER_LABEL);
    own.list(&labelled).await.unwrap().items
}

async fn until_no_records(world: &World) {
    world
        .eventually("the records to go", SOON, async || {
            let left = records(world).await.len();
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
}

#[tokio::test]
async fn retained_users_count_and_end_with_their_class() {
    let world = World::builder("retained")
        .drift("1s")
        .all_namespaces()
        .start()
        .await;
    let class = world
        .class("few")
        .max_users_per_namespace(1)
        .with(|spec| spec.on_revoked = OnRevoked::Revoke)
        .apply()
        .await;
    let make = async |name: &str| {
        let user = world.user(name).viewer(PAYMENTS).class(&class);
        user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
            .apply()
            .await
    };
    make("one").await;
    world.ready("one").await;
    let token = world.token("one").await;
    world.delete("one").await;
    world.gone("one").await;
    assert!(world.platform().accepts(&token).await);
    let record = records(&world).await.remove(0);
    assert!(record.data.is_none());

    // Its place is taken, now and after a restart.
    make("two").await;
    let said = world.stalled("two", "NotAllowed").await;
    assert!(said.contains("allows 1 users"), "{said}");
    world.controller().stop().await;
    world.controller().resume().await.unwrap();
    world
        .eventually("the organization to count it", SOON, async || {
            let counts = world.organization().await.status.and_then(|s| s.users);
            let counts = counts.ok_or("none")?;
            if (counts.retained, counts.orphaned) == (1, 0) {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        })
        .await;
    world
        .change("two", json!({"metadata": {"annotations": {"look": "again"}}}))
        .await
        .unwrap();
    world.stalled("two", "NotAllowed").await;

    // The class takes it back: user, Secret, record.
    change_class(&world, &class, json!({"namespaces": {"matchNames": []}})).await;
    dead(&world, &token).await;
    until_no_records(&world).await;
    assert!(world.secrets().get_opt("one").await.unwrap().is_none());

    // A user that is deleted on the platform needs no record.
    change_class(
        &world,
        &class,
        json!({"namespaces": {"matchNames": [world.namespace()]}}),
    )
    .await;
    world.ready("two").await;
    let id = world.get("two").await.status.unwrap().user_id.unwrap();
    world.delete("two").await;
    world.gone("two").await;
    assert_eq!(records(&world).await.len(), 1);
    let platform = world.platform();
    platform
        .delete(&format!("/setup/user/{id}"), &platform.admin_token)
        .await;
    until_no_records(&world).await;
    assert!(
        world.secrets().get_opt("two").await.unwrap().is_some(),
        "it is the tenant's"
    );
}

#[tokio::test]
async fn a_retained_user_ends_at_the_maximum_age_of_its_class() {
    let world = World::builder("retained-age").drift("1s").start().await;
    let class = world.class("aged").apply().await;
    let user = world.user("old").viewer(PAYMENTS).class(&class);
    user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
        .apply()
        .await;
    world.ready("old").await;
    let token = world.token("old").await;
    world.delete("old").await;
    world.gone("old").await;
    change_class(&world, &class, json!({"rotation": {"maxAge": "3s"}})).await;
    dead(&world, &token).await;
    until_no_records(&world).await;
}

#[tokio::test]
async fn a_crash_between_record_and_secret_counts_a_retained_user_once() {
    for (n, act) in [Act::KillBefore, Act::KillAfter, Act::DropAnswer, Act::Refuse(500)]
        .into_iter()
        .enumerate()
    {
        let world = World::builder(&format!("retained-{n}"))
            .proxied()
            .drift("1s")
            .start()
            .await;
        let user = world.user("kept").viewer(PAYMENTS);
        user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
            .apply()
            .await;
        world.ready("kept").await;
        let token = world.token("kept").await;
        let namespace = world.namespace().to_owned();
        // The write after the record: that of the Secret.
        let release = move |seen: &Seen| {
            seen.verb == "patch" && seen.resource == "secrets" && seen.namespace == namespace
        };
        let fault = world.proxies().api.arm(act, release);
        world.delete("kept").await;
        fault.over.wait().await;
        if matches!(act, Act::KillBefore | Act::KillAfter) {
            world.controller().resume().await.unwrap();
        }
        world.gone("kept").await;
        assert_eq!(records(&world).await.len(), 1, "{act:?}");
        assert!(world.platform().accepts(&token).await, "{act:?}");
    }
}

#[tokio::test]
async fn a_class_that_does_not_allow_it_keeps_no_user() {
    let world = World::new("delete-only").await;
    let class = world.class("both").apply().await;
    let retaining = |name: &str| {
        let user = world.user(name).viewer(PAYMENTS).class(&class);
        user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
    };
    retaining("before").apply().await;
    world.ready("before").await;
    let token = world.token("before").await;
    change_class(
        &world,
        &class,
        json!({"allow": {"deletionPolicies": ["Delete"]}, "onRevoked": "Revoke"}),
    )
    .await;
    let said = world.stalled("before", "DeletionPolicyNotAllowed").await;
    assert!(said.contains("allow.deletionPolicies"), "{said}");
    assert!(
        world.platform().accepts(&token).await,
        "it is not revoked for that"
    );
    retaining("after").apply().await;
    world.stalled("after", "DeletionPolicyNotAllowed").await;
    world.delete("before").await;
    world.gone("before").await;
    dead(&world, &token).await;
    assert!(world.secrets().get_opt("before").await.unwrap().is_none());
    assert!(records(&world).await.is_empty());
}

async fn until_class_gone(world: &World, class: &str) {
    world
        .eventually("the class to go", SOON, async || {
            match classes(world).get_opt(class).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|c| c.map(|c| c.metadata)))),
            }
        })
        .await;
}

#[tokio::test]
async fn a_class_that_is_deleted_revokes_as_it_promised_and_goes_after_its_users() {
    let world = World::builder("class-deleted").drift("1s").start().await;
    let class = revoking(&world, "revoking").await;
    let token = ready_user(&world, "live", &class).await;
    let user = world.user("kept").viewer(PAYMENTS).class(&class);
    user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
        .apply()
        .await;
    world.ready("kept").await;
    let kept = world.token("kept").await;
    world.delete("kept").await;
    world.gone("kept").await;
    let held = classes(&world).get(&class).await.unwrap();
    assert!(held.finalizers().iter().any(|f| f == CLASS_FINALIZER));
    classes(&world)
        .delete(&class, &DeleteParams::default())
        .await
        .unwrap();
    for token in [&token, &kept] {
        dead(&world, token).await;
    }
    until_class_gone(&world, &class).await;
    until_no_records(&world).await;
    world.stalled("live", "UnknownClass").await;

    // One that keeps stays for as long as it has users, and lets none be made.
    let class = world.class("keeping").apply().await;
    let token = ready_user(&world, "stays", &class).await;
    classes(&world)
        .delete(&class, &DeleteParams::default())
        .await
        .unwrap();
    let said = world.stalled("stays", "NotAllowed").await;
    assert!(said.contains("is being deleted"), "{said}");
    world.user("late").viewer(PAYMENTS).class(&class).apply().await;
    world.stalled("late", "NotAllowed").await;
    world
        .always("the class, and the token", Duration::from_secs(6), async || {
            let class = classes(&world).get_opt(&class).await.map_err(|e| e.to_string())?;
            class.ok_or("the class is gone")?;
            if world.platform().accepts(&token).await {
                Ok(())
            } else {
                Err("dead".to_owned())
            }
        })
        .await;
    world.delete("stays").await;
    world.gone("stays").await;
    dead(&world, &token).await;
    until_class_gone(&world, &class).await;

    // One without users goes at once.
    let unused = world.class("unused").apply().await;
    classes(&world)
        .delete(&unused, &DeleteParams::default())
        .await
        .unwrap();
    assert!(classes(&world).get_opt(&unused).await.unwrap().is_none());
}

#[tokio::test]
async fn a_retained_user_holds_its_organization_and_without_it_no_class() {
    const LEFT: &str = "UserLeftBehind";
    let world = World::builder("left-behind").drift("1s").start().await;
    let class = revoking(&world, "revoking").await;
    let user = world.user("kept").viewer(PAYMENTS).class(&class);
    user.with(|s| s.deletion_policy = DeletionPolicy::Retain)
        .apply()
        .await;
    world.ready("kept").await;
    world.delete("kept").await;
    world.gone("kept").await;

    let organizations: Api<Organization> = Api::all(world.client());
    let name = world.organization_name();
    let protect = Patch::Merge(json!({"spec": {"deletionProtection": true}}));
    organizations
        .patch(name, &PatchParams::default(), &protect)
        .await
        .unwrap();
    world
        .eventually("the Organization to be held", SOON, async || {
            let held = world.organization().await;
            let mut finalizers = held.finalizers().iter();
            let found = finalizers.any(|f| f == ORGANIZATION_FINALIZER);
            if found {
                Ok(())
            } else {
                Err("it is not".to_owned())
            }
        })
        .await;
    organizations
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    world
        .eventually("the Organization to wait", SOON, async || {
            let status = world.organization().await.status.unwrap_or_default();
            let mut conditions = status.conditions.iter();
            let held = conditions.find(|c| c.reason == "UsersExist");
            held.map(drop).ok_or_else(|| format!("{:?}", status.conditions))
        })
        .await;
    // By force, which leaves the user behind.
    let bare = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    organizations
        .patch(name, &PatchParams::default(), &bare)
        .await
        .unwrap();
    world
        .eventually("the Organization to go", SOON, async || {
            let found = organizations.get_opt(name).await.map_err(|e| e.to_string())?;
            found.map_or(Ok(()), |_| Err("it is there".to_owned()))
        })
        .await;
    classes(&world)
        .delete(&class, &DeleteParams::default())
        .await
        .unwrap();
    until_class_gone(&world, &class).await;
    until_no_records(&world).await;
    let events: Api<Event> = Api::namespaced(world.client(), "default");
    let left = ListParams::default().fields(&format!("reason={LEFT}"));
    world
        .eventually("the class to tell of the user", SOON, async || {
            let all = events.list(&left).await.map_err(|e| e.to_string())?;
            let ours = |e: &&Event| e.regarding.as_ref().and_then(|r| r.name.as_ref()) == Some(&class);
            let found = all.items.iter().find(ours).and_then(|e| e.note.clone());
            let note = found.ok_or("none")?;
            if note.contains("stays on the platform") {
                Ok(())
            } else {
                Err(note)
            }
        })
        .await;
}
