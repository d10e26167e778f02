//! How long a user lives: its end, its rest, and what stays when its object goes.

use jiff::{SignedDuration, Timestamp};
use programmatic_users::api::{DeletionPolicy, Organization, RETAINED_LABEL};

use crate::support::{PAYMENTS, World};

#[tokio::test]
async fn at_the_end_of_its_life_nothing_is_left_but_the_object() {
    let world = World::new("expiry").await;
    let end = Timestamp::now() + SignedDuration::from_secs(5);
    world
        .user("guest")
        .viewer(PAYMENTS)
        .with(|s| s.expire_at = Some(end))
        .apply()
        .await;
    world.ready("guest").await;
    let token = world.token("guest").await;
    let message = world.stalled("guest", "Expired").await;
    assert!(
        message.contains("set a later time to have a new user made"),
        "{message}"
    );
    assert!(!world.platform().accepts(&token).await);
    assert_eq!(world.platform().users().await.len(), 0);
    assert!(world.secrets().get_opt("guest").await.unwrap().is_none());
    // What the message says helps.
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    world
        .user("guest")
        .viewer(PAYMENTS)
        .with(|s| s.expire_at = Some(later))
        .apply()
        .await;
    world.ready("guest").await;
    world.delete("guest").await;
    world.gone("guest").await;
    assert_eq!(world.platform().users().await.len(), 0);
}

#[tokio::test]
async fn a_suspended_object_is_left_as_it_is_until_it_is_resumed_or_deleted() {
    let world = World::new("suspend").await;
    world.user("resting").viewer(PAYMENTS).apply().await;
    world.ready("resting").await;
    let token = world.token("resting").await;
    world
        .user("resting")
        .editor(PAYMENTS)
        .with(|s| s.suspend = true)
        .apply()
        .await;
    world
        .until("resting", "to rest", |u| {
            u.status
                .as_ref()
                .is_some_and(|s| s.conditions.iter().any(|c| c.type_ == "Suspended"))
        })
        .await;
    assert_eq!(world.token("resting").await, token);
    world
        .user("resting")
        .editor(PAYMENTS)
        .with(|s| s.suspend = false)
        .apply()
        .await;
    world
        .until("resting", "to be replaced", |u| {
            let status = u.status.as_ref().unwrap();
            status.journal.retiring.len() == 1 && status.conditions.iter().all(|c| c.type_ != "Suspended")
        })
        .await;
    world
        .user("resting")
        .editor(PAYMENTS)
        .with(|s| s.suspend = true)
        .apply()
        .await;
    world.delete("resting").await;
    world.gone("resting").await;
    assert_eq!(
        world.platform().users().await.len(),
        0,
        "a deletion is carried out"
    );
}

#[tokio::test]
async fn a_retained_user_stays_with_its_token() {
    let world = World::new("retain").await;
    world
        .user("kept")
        .viewer(PAYMENTS)
        .with(|s| s.deletion_policy = DeletionPolicy::Retain)
        .apply()
        .await;
    world.ready("kept").await;
    let token = world.token("kept").await;
    world.delete("kept").await;
    world.gone("kept").await;
    let secret = world.secrets().get("kept").await.unwrap();
    assert_eq!(secret.metadata.owner_references.unwrap_or_default(), vec![]);
    assert_eq!(secret.metadata.labels.unwrap()[RETAINED_LABEL], "true");
    assert_eq!(world.secret("kept").await["SPOTINST_TOKEN"], token);
    assert!(world.platform().accepts(&token).await);
    // Another object of that name does not take it over.
    world.user("kept").viewer(PAYMENTS).apply().await;
    world.stalled("kept", "SecretConflict").await;
    assert!(world.platform().accepts(&token).await);
}

#[tokio::test]
async fn a_namespace_that_is_deleted_takes_its_users_with_it() {
    let world = World::new("terminating").await;
    // What would be retained has nowhere to be kept.
    for (name, policy) in [("one", DeletionPolicy::Delete), ("two", DeletionPolicy::Retain)] {
        let user = world.user(name).viewer(PAYMENTS);
        user.with(|s| s.deletion_policy = policy).apply().await;
        world.ready(name).await;
    }
    let token = world.token("two").await;
    // Bindings go with everything else in the namespace, in any order: here first.
    let gone = ["-n", world.namespace(), "delete", "rolebinding", "--all"];
    world.cluster().kubectl(&gone).unwrap();
    world
        .cluster()
        .kubectl(&["delete", "namespace", world.namespace(), "--timeout=60s"])
        .unwrap();
    assert_eq!(world.platform().users().await.len(), 0);
    assert!(!world.platform().accepts(&token).await);
}

#[tokio::test]
async fn without_its_organization_a_deletion_waits_and_says_for_what() {
    let world = World::new("no-organization").await;
    world.user("stranded").viewer(PAYMENTS).apply().await;
    world.ready("stranded").await;
    let organization = world.organization().await;
    let kubectl = |args: &[&str]| world.cluster().kubectl(args).unwrap();
    kubectl(&["delete", "puo", world.organization_name()]);
    world.delete("stranded").await;
    let message = world.stalled("stranded", "DeletionBlocked").await;
    assert!(
        message.contains("create the Organization again, or delete the user there"),
        "{message}"
    );
    assert_eq!(world.platform().users().await.len(), 1);
    let again = Organization::new(world.organization_name(), organization.spec);
    world.apply(&again).await.unwrap();
    world.gone("stranded").await;
    assert_eq!(world.platform().users().await.len(), 0);
}
