//! The canary: a token is in the platform's reply, in memory and in the Secret, and nowhere else.

use programmatic_users::api::ROTATE_AT_ANNOTATION;
use serde_json::json;

use crate::support::proxy::{Act, Lie, Seen};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

#[tokio::test]
async fn no_token_appears_in_anything_that_the_system_says() {
    let world = World::builder("canary")
        .controller_env("RUST_LOG", "trace")
        .start()
        .await;
    world.user("talkative").editor(PAYMENTS).apply().await;
    world.ready("talkative").await;
    let token = world.token("talkative").await;
    world
        .apply_yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: mine}\nstringData: {a: b}\n")
        .unwrap();
    world
        .user("refused")
        .editor(PAYMENTS)
        .secret("mine")
        .apply()
        .await;
    world.stalled("refused", "SecretConflict").await;
    assert_eq!(world.platform().get("/console", &token).await.status, 403);
    world.platform().stop().await;
    world.user("down").editor(PAYMENTS).apply().await;
    world
        .until("down", "to tell", |u| {
            u.status
                .iter()
                .flat_map(|s| &s.conditions)
                .any(|c| c.reason == "PlatformUnreachable")
        })
        .await;
    world.platform().resume().await.unwrap();
    world.ready("down").await;
    let _ = world.token("down").await;
    world.delete("talkative").await;
    world.gone("talkative").await;
    assert_eq!(world.leaks().await, Vec::<String>::new());
}

/// A request about one Secret, not a dry run.
fn secret(verb: &'static str, name: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync {
    move |seen| seen.verb == verb && seen.resource == "secrets" && seen.name.contains(name) && !seen.dry_run
}

/// The request that makes a user of this name.
fn create(name: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync {
    move |seen| seen.verb == "POST" && seen.user_name.starts_with(name)
}

/// Answers may quote the request, headers and all, or end before they should: nothing of it is passed on.
#[tokio::test]
async fn no_token_appears_whatever_the_answers_are() {
    let world = World::builder("canary-faults")
        .proxied()
        .controller_env("RUST_LOG", "trace,kube_client::client=trace")
        .controller_flags(&["--create-timeout", "2s", "--settle-slack", "1s"])
        .start()
        .await;
    let (api, platform) = (&world.proxies().api, &world.proxies().platform);
    let (quoted, cut) = (Act::Echo(500), Act::Lie(Lie::Unfinished));
    let check = |seen: &Seen| seen.verb == "GET" && seen.resource == "/setup/account";
    let mut faults = vec![
        platform.arm(quoted, create("one")),
        platform.arm(cut, create("two")),
        api.arm(Act::Echo(422), secret("create", "three")),
        api.arm(cut, secret("create", "four")),
        platform.arm_nth(quoted, 1, 2, check),
    ];
    for name in ["one", "two", "three", "four"] {
        world.user(name).editor(PAYMENTS).apply().await;
    }
    for name in ["one", "two", "three", "four"] {
        world.ready(name).await;
    }
    // Like those who apply by hand: the manifest is kept in an annotation.
    let kubectl = |args: &[&str], input: Option<&str>| {
        let args = [&["-n", world.namespace()], args].concat();
        world.cluster().kubectl_with(&args, input).unwrap()
    };
    let manifest = kubectl(&["get", "pu", "one", "-o", "yaml"], None);
    kubectl(&["apply", "-f", "-"], Some(&manifest));
    faults.extend([
        api.arm(quoted, secret("create", "staging")),
        api.arm_nth(cut, 1, 1, secret("create", "staging")),
        api.arm(quoted, secret("update", "one")),
        api.arm(cut, secret("update", "one")),
        api.arm(cut, secret("get", "one")),
    ]);
    let patch = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("one", patch).await.unwrap();
    world
        .until("one", "to be rotated", |u| {
            let status = u.status.as_ref().unwrap();
            status.last_handled_rotate_at.as_deref() == Some("1") && status.journal.pending.is_none()
        })
        .await;
    for (i, fault) in faults.iter().enumerate() {
        assert!(fault.fired.is_set(), "fault {i}: no such request came");
    }
    world
        .eventually("nothing to be left over", SOON, async || {
            let journal = world.get("one").await.status.unwrap().journal;
            let known = 4 + journal.retiring.len();
            match world.platform().users().await.len() {
                n if n == known => Ok(()),
                n => Err(format!("{n} users, and {known} are known")),
            }
        })
        .await;
    assert_eq!(world.leaks().await, Vec::<String>::new());
}
