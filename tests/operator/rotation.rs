//! Tokens are replaced, and no program that uses them notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use programmatic_users::api::{
    ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Rotation, RotationWindow, STAGING_LABEL,
};
use serde_json::json;

use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

fn rotation(every: Option<&str>, overlap: &str) -> Rotation {
    let span = |text: &str| programmatic_users::api::Duration::parse(text).unwrap();
    Rotation {
        every: every.map(span),
        overlap: Some(span(overlap)),
        ..Rotation::default()
    }
}

fn user_id(user: &ProgrammaticUser) -> String {
    user.status.as_ref().unwrap().user_id.clone().unwrap()
}

/// Asks for a new token, as people do, and waits until it is published.
async fn rotate(world: &World, name: &str, value: &str) -> ProgrammaticUser {
    let patch = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: value}}});
    world.change(name, patch).await.unwrap();
    world
        .until(name, "to be rotated", |u| {
            u.status.as_ref().is_some_and(|s| {
                s.last_handled_rotate_at.as_deref() == Some(value) && s.journal.pending.is_none()
            })
        })
        .await
}

/// Waits until the user is another one than `old`, and Ready.
async fn replaced(world: &World, name: &str, old: &str) -> ProgrammaticUser {
    let other = |u: &ProgrammaticUser| {
        let status = u.status.as_ref().unwrap();
        status.user_id.as_deref() != Some(old)
            && status.journal.pending.is_none()
            && status
                .conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    world.until(name, "to be replaced", other).await
}

/// Nothing is left of an attempt but its user and its Secret.
async fn nothing_staged(world: &World) {
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let staged = kube::api::ListParams::default().labels(STAGING_LABEL);
    assert_eq!(own.list(&staged).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn on_demand_the_token_is_replaced_and_the_old_one_works_until_its_overlap_is_over() {
    let world = World::new("on-demand").await;
    world
        .user("ci")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(rotation(None, "4s")))
        .apply()
        .await;
    let old = user_id(&world.ready("ci").await);
    let old_token = world.token("ci").await;
    let user = rotate(&world, "ci", "today").await;
    assert_ne!(user_id(&user), old);
    let new_token = world.token("ci").await;
    assert_ne!(new_token, old_token);
    let retiring = &user.status.as_ref().unwrap().journal.retiring;
    assert_eq!(retiring.len(), 1);
    assert_eq!(retiring[0].user_id, old);
    assert!(
        world.platform().accepts(&old_token).await,
        "the old token works in its overlap"
    );
    world
        .until("ci", "the old user to retire", |u| {
            u.status.as_ref().is_some_and(|s| s.journal.retiring.is_empty())
        })
        .await;
    assert!(!world.platform().accepts(&old_token).await, "then it is dead");
    assert!(world.platform().accepts(&new_token).await);
    assert_eq!(world.platform().users().await.len(), 1);
    nothing_staged(&world).await;
    let events = world.events("ci").await;
    assert!(
        events.iter().any(|e| e.reason.as_deref() == Some("Rotated")),
        "{events:?}"
    );
    assert!(world.leaks().await.is_empty());
    // A GitOps tool that applies the same again asks for nothing.
    let mark = world.audit_mark().await;
    rotate(&world, "ci", "today").await;
    assert!(
        world
            .written_from(mark)
            .await
            .iter()
            .all(|w| !w.contains("status")),
        "nothing is written"
    );
}

#[tokio::test]
async fn a_consumer_with_the_secrets_newest_token_sees_no_failure_over_fifty_rotations() {
    const USERS: usize = 13;
    const ROTATIONS: usize = 4;
    let world = World::new("consumer").await;
    for i in 0..USERS {
        world
            .user(&format!("c{i}"))
            .viewer(PAYMENTS)
            .with(|s| s.rotation = Some(rotation(None, "1s")))
            .apply()
            .await;
    }
    let (mut calls, mut failed, mut rotations) = (0, Vec::new(), 0);
    for i in 0..USERS {
        let name = format!("c{i}");
        world.ready(&name).await;
        let stop = Arc::new(AtomicBool::new(false));
        let consumer = {
            let (stop, name) = (stop.clone(), name.clone());
            let world = &world;
            async move {
                let (mut calls, mut failed) = (0, Vec::new());
                let mut tick = tokio::time::interval(Duration::from_millis(50));
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let token = world
                        .secret(&name)
                        .await
                        .remove("SPOTINST_TOKEN")
                        .unwrap_or_default();
                    let answer = world.platform().get("/setup/account", &token).await;
                    calls += 1;
                    if answer.status != 200 {
                        failed.push(answer.status);
                    }
                }
                (calls, failed)
            }
        };
        let rotate_all = async {
            for n in 0..ROTATIONS {
                rotate(&world, &name, &n.to_string()).await;
            }
            stop.store(true, Ordering::Relaxed);
        };
        let ((made, wrong), ()) = tokio::join!(consumer, rotate_all);
        calls += made;
        failed.extend(wrong);
        rotations += ROTATIONS;
    }
    println!(
        "rotation: {rotations} rotations, {calls} calls of consumers every 50 ms, {} failed",
        failed.len()
    );
    assert!(rotations >= 50 && calls > rotations);
    assert_eq!(failed, Vec::<u16>::new());
}

#[tokio::test]
async fn fields_that_only_a_new_user_can_have_cause_a_replacement() {
    let world = World::new("replacement").await;
    world.user("grows").viewer(PAYMENTS).apply().await;
    let old = user_id(&world.ready("grows").await);
    let token = world.token("grows").await;
    world
        .user("grows")
        .editor(PAYMENTS)
        .secret("elsewhere")
        .apply()
        .await;
    let user = replaced(&world, "grows", &old).await;
    let status = user.status.as_ref().unwrap();
    assert_eq!(status.secret_name.as_deref(), Some("elsewhere"));
    let new = world.token("grows").await;
    let group = json!({"group": {"name": "mine"}});
    let path = format!("/aws/ec2/group?accountId={PAYMENTS}");
    assert_eq!(
        world.platform().post(&path, &new, &group).await.status,
        200,
        "an editor now"
    );
    assert!(
        world.platform().accepts(&token).await,
        "the default overlap is a day"
    );
    assert_eq!(status.journal.retiring[0].secret_name.as_deref(), Some("grows"));
    assert_eq!(
        world.secret("grows").await["SPOTINST_TOKEN"],
        token,
        "pods may still read the old Secret"
    );
    world.delete("grows").await;
    world.gone("grows").await;
    for token in [&token, &new] {
        assert!(!world.platform().accepts(token).await);
    }
    assert!(world.secrets().get_opt("grows").await.unwrap().is_none());
    assert_eq!(world.platform().users().await.len(), 0);
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_edited_comes_back_with_a_new_token() {
    let world = World::new("secret-drift").await;
    world.user("mended").viewer(PAYMENTS).apply().await;
    let first = user_id(&world.ready("mended").await);
    let kubectl = |args: &[&str]| world.cluster().kubectl(args).unwrap();
    kubectl(&["-n", world.namespace(), "delete", "secret", "mended"]);
    let second = user_id(&replaced(&world, "mended", &first).await);
    assert!(world.platform().accepts(&world.token("mended").await).await);
    let edit = r#"{"stringData": {"SPOTINST_TOKEN": "not the token"}}"#;
    kubectl(&["-n", world.namespace(), "patch", "secret", "mended", "-p", edit]);
    let third = user_id(&replaced(&world, "mended", &second).await);
    let token = world.token("mended").await;
    assert!(world.platform().accepts(&token).await);
    // Keys that others add are no edit of ours.
    let add = r#"{"stringData": {"more": "of theirs"}, "metadata": {"labels": {"team": "a"}}}"#;
    kubectl(&["-n", world.namespace(), "patch", "secret", "mended", "-p", add]);
    world
        .always("the same user", Duration::from_secs(2), async || {
            let now = user_id(&world.get("mended").await);
            if now == third { Ok(()) } else { Err(now) }
        })
        .await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_again_and_again_costs_five_users_an_hour() {
    let world = World::new("budget").await;
    world
        .user("hammered")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(rotation(None, "1s")))
        .apply()
        .await;
    let mut last = user_id(&world.ready("hammered").await);
    for _ in 0..4 {
        let args = ["-n", world.namespace(), "delete", "secret", "hammered"];
        world.cluster().kubectl(&args).unwrap();
        last = user_id(&replaced(&world, "hammered", &last).await);
    }
    let args = ["-n", world.namespace(), "delete", "secret", "hammered"];
    world.cluster().kubectl(&args).unwrap();
    let is_exhausted = |u: &ProgrammaticUser| {
        let conditions = &u.status.as_ref().unwrap().conditions;
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.reason == "CreateBudgetExhausted")
    };
    world.until("hammered", "to stop", is_exhausted).await;
}

#[tokio::test]
async fn a_revoked_token_dies_as_soon_as_the_new_one_is_published() {
    let world = World::new("revoke").await;
    world.user("leaked").viewer(PAYMENTS).apply().await;
    world.ready("leaked").await;
    let token = world.token("leaked").await;
    let started = Instant::now();
    world
        .user("leaked")
        .viewer(PAYMENTS)
        .annotation(REVOKE_NOW_ANNOTATION, "incident-7")
        .apply()
        .await;
    world
        .eventually("the old token to be dead", SOON, async || {
            if world.platform().accepts(&token).await {
                Err("it works still".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    println!(
        "revoke-now: the old token was dead after {} ms",
        started.elapsed().as_millis()
    );
    let user = world.ready("leaked").await;
    assert_eq!(
        user.status.unwrap().last_handled_revoke_now.as_deref(),
        Some("incident-7")
    );
    assert!(world.platform().accepts(&world.token("leaked").await).await);
    world
        .until("leaked", "nothing to be left", |u| {
            u.status.as_ref().is_some_and(|s| s.journal.retiring.is_empty())
        })
        .await;
    assert_eq!(world.platform().users().await.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_old_enough_is_replaced_by_itself() {
    let world = World::new("age").await;
    world
        .user("old")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(rotation(Some("1m"), "2s")))
        .apply()
        .await;
    let user = world.ready("old").await;
    let status = user.status.as_ref().unwrap();
    let (issued, next) = (status.token_issued_at.unwrap(), status.next_rotation.unwrap());
    let age = next.duration_since(issued).as_secs();
    assert!((54..=60).contains(&age), "{age}");
    let other = |u: &ProgrammaticUser| user_id(u) != user_id(&user);
    world
        .eventually("the token to be replaced", Duration::from_mins(3), async || {
            let now = world.get("old").await;
            if other(&now) {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
    let user = world.ready("old").await;
    assert!(
        user.status.unwrap().token_issued_at.unwrap() >= next,
        "not before its time"
    );
}

#[tokio::test]
async fn invalid_windows_and_bounds_are_reported() {
    let world = World::new("windows").await;
    let window = |cron: &str, zone: &str| RotationWindow {
        cron: cron.to_owned(),
        time_zone: Some(zone.to_owned()),
        duration: programmatic_users::api::Duration::from_secs(3600),
    };
    let with = |window: RotationWindow| Rotation {
        windows: vec![window],
        ..rotation(Some("24h"), "1h")
    };
    let mars = with(window("0 2 * * *", "Mars/Olympus"));
    world
        .user("mars")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(mars))
        .apply()
        .await;
    let message = world.stalled("mars", "InvalidSpec").await;
    assert!(
        message.contains("an IANA time zone such as Europe/Berlin"),
        "{message}"
    );
    let berlin = with(window("0 2 * * SUN", "Europe/Berlin"));
    world
        .user("berlin")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(berlin))
        .apply()
        .await;
    let next = world.ready("berlin").await.status.unwrap().next_rotation.unwrap();
    let berlin = next.in_tz("Europe/Berlin").unwrap();
    assert_eq!(
        (berlin.weekday(), berlin.hour()),
        (jiff::civil::Weekday::Sunday, 2)
    );
    let class = world
        .class("strict")
        .with(|c| {
            c.rotation = serde_json::from_value(json!({"maxAge": "720h", "minOverlap": "1h"})).unwrap();
        })
        .apply()
        .await;
    world.user("never").viewer(PAYMENTS).class(&class).apply().await;
    let message = world.stalled("never", "NotAllowed").await;
    assert!(
        message.contains("set rotation.every to 720h or less"),
        "{message}"
    );
    let hasty = rotation(Some("24h"), "1m");
    world
        .user("hasty")
        .viewer(PAYMENTS)
        .class(&class)
        .with(|s| s.rotation = Some(hasty))
        .apply()
        .await;
    let message = world.stalled("hasty", "NotAllowed").await;
    assert!(
        message.contains("set rotation.overlap to 1h or more"),
        "{message}"
    );
    assert_eq!(world.platform().users().await.len(), 1, "only berlin");
}
