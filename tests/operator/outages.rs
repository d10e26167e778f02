//! Outages: the platform is down or does not answer, the controller is killed, people change journal and finalizer.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use programmatic_users::api::ProgrammaticUser;

use crate::support::wait::SOON;
use crate::support::{Operator, PAYMENTS, World, operator};

/// Longer than a settle window, after which what cannot be known for certain is given up.
const SETTLED: Duration = Duration::from_mins(3);

fn reason_is(reason: &'static str) -> impl Fn(&ProgrammaticUser) -> bool {
    move |u| {
        u.status
            .iter()
            .flat_map(|s| &s.conditions)
            .any(|c| c.reason == reason)
    }
}

#[tokio::test]
async fn a_platform_that_is_down_at_the_start_is_waited_for() {
    let world = World::builder("down").controller_stopped().start().await;
    world.platform().stop().await;
    world.controller().resume().await.unwrap();
    world.user("patient").viewer(PAYMENTS).apply().await;
    let user = world
        .until("patient", "to tell", reason_is("PlatformUnreachable"))
        .await;
    assert!(
        user.status.unwrap().journal.pending.is_none(),
        "nothing was asked for"
    );
    world.platform().resume().await.unwrap();
    world.ready("patient").await;
    assert_eq!(world.platform().users().await.len(), 1);
}

#[tokio::test]
async fn a_deletion_waits_for_the_platform_and_ends_when_it_is_back() {
    let world = World::new("delete-down").await;
    world.user("leaving").viewer(PAYMENTS).apply().await;
    world.ready("leaving").await;
    let token = world.token("leaving").await;
    world.platform().stop().await;
    world.delete("leaving").await;
    world
        .until("leaving", "to tell", reason_is("DeletionBlocked"))
        .await;
    world.platform().resume().await.unwrap();
    world.gone("leaving").await;
    assert!(!world.platform().accepts(&token).await);
}

#[tokio::test]
async fn a_controller_that_is_killed_again_and_again_loses_no_token_and_leaves_no_user_behind() {
    let world = World::builder("killed").controller_stopped().start().await;
    let mut names = Vec::new();
    // Killed in the thick of it: each time when the first of six new users has its Secret, and others are at
    // whatever point they have come to.
    for round in 0..5 {
        let new: Vec<String> = (0..6).map(|i| format!("u{round}-{i}")).collect();
        for name in &new {
            world.user(name).viewer(PAYMENTS).apply().await;
        }
        world.controller().launch().await.unwrap();
        world
            .eventually("a Secret", SOON, async || {
                let secrets = world.secrets();
                let found = join_all(new.iter().map(|name| secrets.get_opt(name))).await;
                let there = found.into_iter().any(|secret| secret.is_ok_and(|s| s.is_some()));
                if there { Ok(()) } else { Err("none".to_owned()) }
            })
            .await;
        world.controller().kill().await;
        names.extend(new);
    }
    world.controller().resume().await.unwrap();
    // Attempts without a certain answer are given up only after the settle window.
    world
        .eventually("all to be Ready", SETTLED, async || {
            let users = join_all(names.iter().map(|n| world.get(n))).await;
            let left: Vec<String> = users
                .into_iter()
                .filter(|u| !reason_is("Ready")(u))
                .filter_map(|u| u.metadata.name)
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join(" "))
            }
        })
        .await;
    let mut tokens = BTreeSet::new();
    for name in &names {
        let token = world.token(name).await;
        assert!(
            world.platform().accepts(&token).await,
            "the token of {name} works"
        );
        assert!(tokens.insert(token), "{name} has a token of its own");
    }
    assert_eq!(
        world.platform().users().await.len(),
        names.len(),
        "one user each, and none besides"
    );
}

#[tokio::test]
async fn a_platform_that_never_answers_is_given_up_and_no_user_is_left_twice() {
    let world = World::new("frozen").await;
    world.user("before").viewer(PAYMENTS).apply().await;
    world.ready("before").await;
    world.platform().freeze().await;
    world.user("after").viewer(PAYMENTS).apply().await;
    world
        .until("after", "to tell", reason_is("PlatformUnreachable"))
        .await;
    world.platform().thaw().await;
    world
        .eventually("after to be Ready", SETTLED, async || {
            let user = world.get("after").await;
            if reason_is("Ready")(&user) {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
    assert_eq!(world.platform().users().await.len(), 2);
}

#[tokio::test]
async fn a_journal_with_a_foreign_user_id_deletes_no_user() {
    let world = World::new("forged").await;
    world.user("victim").viewer(PAYMENTS).apply().await;
    world.user("forger").viewer(PAYMENTS).apply().await;
    let victim = world.ready("victim").await.status.unwrap();
    world.ready("forger").await;
    let token = world.token("victim").await;
    let own = world.token("forger").await;
    world.controller().stop().await;
    let journal = victim.journal.current.unwrap();
    let patch = serde_json::json!({"status": {"journal": {"current": {"userId": journal.user_id, "nonce": journal.nonce}}}});
    let patch = kube::api::Patch::Merge(patch);
    world
        .users()
        .patch_status("forger", &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    world.controller().resume().await.unwrap();
    let message = world.stalled("forger", "JournalInvalid").await;
    assert!(
        message.contains("restore the status from a backup, or remove status.journal"),
        "{message}"
    );
    world.delete("forger").await;
    let message = world.stalled("forger", "DeletionBlocked").await;
    assert!(message.contains("nothing in it can be relied on"), "{message}");
    for token in [&token, &own] {
        assert!(world.platform().accepts(token).await, "no user was deleted");
    }
    // What the message says helps.
    let patch = kube::api::Patch::Merge(serde_json::json!({"status": {"journal": null}}));
    world
        .users()
        .patch_status("forger", &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    world.gone_within("forger", SETTLED).await;
    assert!(
        world.platform().accepts(&token).await,
        "the victim's token still works"
    );
}

#[tokio::test]
async fn a_finalizer_that_is_removed_by_force_is_restored_and_no_user_is_left_behind() {
    let world = World::new("finalizer").await;
    world.user("stripped").viewer(PAYMENTS).apply().await;
    world.ready("stripped").await;
    let args = [
        "-n",
        world.namespace(),
        "patch",
        "pu",
        "stripped",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#,
    ];
    world.cluster().kubectl(&args).unwrap();
    world
        .until("stripped", "to have its finalizer", |u| {
            u.metadata
                .finalizers
                .iter()
                .flatten()
                .any(|f| f == programmatic_users::api::FINALIZER)
        })
        .await;
    world.delete("stripped").await;
    world.gone("stripped").await;
    assert_eq!(world.platform().users().await.len(), 0);
}

#[tokio::test]
async fn a_controller_leaves_the_users_of_other_organizations_alone() {
    let world = World::builder("two-installations")
        .controller_stopped()
        .start()
        .await;
    let stranger = Operator::start(
        world.dir(),
        "stranger",
        operator::Options {
            organizations: vec!["another".to_owned()],
            ..world.controller().options().clone()
        },
    )
    .await
    .unwrap();
    let mark = world.audit_mark().await;
    world.user("theirs").viewer(PAYMENTS).apply().await;
    world
        .always("nothing being written", Duration::from_secs(3), async || {
            let written = world.written_from(mark).await;
            if written.is_empty() {
                Ok(())
            } else {
                Err(written.join(", "))
            }
        })
        .await;
    world.controller().resume().await.unwrap();
    world.ready("theirs").await;
    stranger.stop().await;
    assert_eq!(world.platform().users().await.len(), 1);
}
