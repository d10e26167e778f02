//! Platforms whose clocks cannot be right.

use jiff::{SignedDuration, Timestamp};
use programmatic_users::api::{CLOCK_SKEWED, ROTATE_AT_ANNOTATION, Rotation, RotationWindow};
use serde_json::json;

use crate::support::proxy::{Act, Lie};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

/// Reason and message of the Organization's condition, while there is one.
async fn skewed(world: &World) -> Option<(String, String)> {
    let status = world.organization().await.status?;
    let found = status.conditions.into_iter().find(|c| c.type_ == CLOCK_SKEWED)?;
    (found.status == "True").then_some((found.reason, found.message))
}

fn nightly() -> Rotation {
    let span = |text: &str| programmatic_users::api::Duration::parse(text).unwrap();
    Rotation {
        every: Some(span("720h")),
        windows: vec![RotationWindow {
            cron: "0 2 * * *".to_owned(),
            time_zone: Some("Europe/Berlin".to_owned()),
            duration: span("2h"),
        }],
        ..Rotation::default()
    }
}

async fn rotate(world: &World, name: &str, value: &str) {
    let patch = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: value}}});
    world.change(name, patch).await.unwrap();
    world
        .until(name, "to be rotated", |u| {
            let status = u.status.as_ref();
            status.is_some_and(|s| {
                s.last_handled_rotate_at.as_deref() == Some(value) && s.journal.pending.is_none()
            })
        })
        .await;
}

#[tokio::test]
async fn a_platform_at_the_end_of_all_times_ends_no_token_and_no_process() {
    let world = World::builder("clocks").drift("1s").proxied().start().await;
    let end = Timestamp::now() + SignedDuration::from_hours(2);
    let nightly_user = |name: &'static str| {
        world
            .user(name)
            .viewer(PAYMENTS)
            .with(|s| s.rotation = Some(nightly()))
    };
    nightly_user("nightly").apply().await;
    let guest = world.user("guest").viewer(PAYMENTS);
    guest.with(|s| s.expire_at = Some(end)).apply().await;
    world.ready("nightly").await;
    world.ready("guest").await;
    // A token that is replaced and valid for another day.
    let replaced = world.token("nightly").await;
    rotate(&world, "nightly", "1").await;
    assert!(skewed(&world).await.is_none());

    // From the first answer to a new process on.
    let dates = world
        .proxies()
        .platform
        .arm_nth(Act::Lie(Lie::FarFuture), 0, 1_000_000, |_| true);
    world.controller().restart().await;
    let (reason, message) = world
        .eventually("the condition", SOON, async || {
            skewed(&world).await.ok_or_else(|| "not yet".to_owned())
        })
        .await;
    assert_eq!(reason, "ImplausibleTime");
    let this_year = Timestamp::now().to_string()[..4].to_owned();
    for words in ["9998-12-31T23:59:59Z", &this_year, "Set the clock that is wrong"] {
        assert!(message.contains(words), "{message}");
    }
    // Objects are worked on, those too whose windows are computed.
    nightly_user("late").apply().await;
    world.ready("late").await;
    let guests = world.token("guest").await;
    rotate(&world, "nightly", "2").await;
    rotate(&world, "guest", "2").await;
    assert!(
        world.platform().accepts(&replaced).await,
        "its overlap is not over"
    );
    assert!(world.platform().accepts(&guests).await, "nor is this one's");
    assert!(world.platform().accepts(&world.token("guest").await).await);
    assert_eq!(world.platform().users().await.len(), 6);
    let metrics = world.controller().metrics().await;
    for line in [
        format!(
            "programmatic_users_clock_implausible{{organization=\"{}\"}} 1",
            world.organization_name()
        ),
        "programmatic_users_reconcile_panics_total{kind=\"ProgrammaticUser\"} 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}");
    }
    assert!(!world.controller().has_ended_by_itself().await);

    dates.disarm();
    world
        .eventually("the condition to go", SOON, async || {
            skewed(&world).await.map_or(Ok(()), |(_, message)| Err(message))
        })
        .await;
    world.ready("guest").await;
}
