//! The operator manages users of an earlier version as before.

use programmatic_users::api::ROTATE_AT_ANNOTATION;
use programmatic_users::plan::Marker;
use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::support::{PAYMENTS, World};

/// Gives a user of the platform another name, as no call can.
async fn rename(world: &World, id: &str, name: &str) {
    world.platform().stop().await;
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}/data/platform.db", world.platform().dir().display());
    let mut conn = sqlx::AnyConnection::connect(&url).await.unwrap();
    let change = sqlx::query("UPDATE platform_user SET name = $1 WHERE id = $2")
        .bind(name)
        .bind(id);
    assert_eq!(conn.execute(change).await.unwrap().rows_affected(), 1);
    conn.close().await.unwrap();
    world.platform().resume().await.unwrap();
}

#[tokio::test]
async fn users_with_the_short_marker_of_an_earlier_version_stay_are_replaced_and_go() {
    let world = World::builder("short").drift("1s").start().await;
    let mut before = Vec::new();
    for name in ["stays", "goes"] {
        world.user(name).viewer(PAYMENTS).apply().await;
        let user = world.ready(name).await;
        before.push((name, user.status.unwrap(), world.token(name).await));
    }
    world.controller().stop().await;
    for (_, status, _) in &before {
        let id = status.user_id.as_deref().unwrap();
        let user = world.platform().user(id).await.unwrap();
        let username = user["username"].as_str().unwrap();
        let marker = Marker::parse(username).unwrap();
        assert_eq!(marker.object.len(), 12);
        let shown = username.split('/').next().unwrap();
        rename(&world, id, &marker.short().name(shown)).await;
    }
    world.controller().resume().await.unwrap();
    world.counted(2).await;
    // A full check of each is due within two drift intervals, and finds nothing to do.
    world
        .always("the users", std::time::Duration::from_secs(5), async || {
            for (name, status, token) in &before {
                let now = world.get(name).await.status.unwrap_or_default();
                let same = now.user_id == status.user_id && now.journal == status.journal;
                if !same || !world.platform().accepts(token).await {
                    return Err(format!("{name}: {now:?}"));
                }
            }
            let counts = world
                .organization()
                .await
                .status
                .and_then(|s| s.users)
                .unwrap_or_default();
            if counts.orphaned == 0 {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        })
        .await;

    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}, "spec": {"rotation": {"overlap": "1s"}}});
    world.change("stays", rotate).await.unwrap();
    world
        .until("stays", "to be replaced, and the old user to go", |u| {
            u.status.as_ref().is_some_and(|s| {
                s.last_handled_rotate_at.as_deref() == Some("1") && s.journal.retiring.is_empty()
            })
        })
        .await;
    world.delete("goes").await;
    world.gone("goes").await;
    for (name, _, token) in &before {
        assert!(!world.platform().accepts(token).await, "{name}");
    }
    let left = world.platform().users().await;
    assert_eq!(left.len(), 1, "{left:?}");
    let marker = Marker::parse(left[0]["username"].as_str().unwrap()).unwrap();
    assert!(!marker.is_short());
}
