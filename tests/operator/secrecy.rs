//! The canary: a token is in the platform's reply, in memory and in the Secret, and nowhere else.

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
