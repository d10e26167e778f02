//! The cluster's state goes back in time, as after a restore of etcd from a backup.

use std::path::PathBuf;
use std::process::Command;

use programmatic_users::api::{ROTATE_AT_ANNOTATION, Rotation};

use crate::support::wait::SOON;
use crate::support::{Cluster, PAYMENTS, World};

/// etcd's files, and where they are kept meanwhile.
fn files(cluster: &Cluster) -> (PathBuf, PathBuf) {
    let run = PathBuf::from(&cluster.info().run_dir);
    (run.join("data/etcd"), run.join("data/etcd-backup"))
}

/// Takes the API server and etcd down, does something with etcd's files, and brings them up again.
async fn offline(world: &World, act: impl FnOnce()) {
    let cluster = world.cluster();
    for process in ["kube-controller-manager", "kube-apiserver", "etcd"] {
        cluster.control("stop", process).unwrap();
    }
    act();
    for process in ["etcd", "kube-apiserver", "kube-controller-manager"] {
        cluster.control("start", process).unwrap();
    }
    let up = async || cluster.kubectl(&["get", "--raw", "/readyz"]);
    world.eventually("the API server to be back", SOON, up).await;
}

fn copy(from: &PathBuf, to: &PathBuf) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn a_cluster_that_went_back_in_time_deletes_nothing_that_is_in_use() {
    let cluster = Cluster::private("restore").await;
    let world = World::builder("restore").on(cluster).drift("2s").start().await;
    let short = Rotation {
        overlap: programmatic_users::api::Duration::parse("1s"),
        ..Rotation::default()
    };
    world
        .user("rotated")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(short.clone()))
        .apply()
        .await;
    world.user("unchanged").viewer(PAYMENTS).apply().await;
    let before = world.ready("rotated").await.status.unwrap();
    world.ready("unchanged").await;
    let unchanged = world.token("unchanged").await;
    world.controller().stop().await;
    let (data, backup) = files(cluster);
    offline(&world, || copy(&data, &backup)).await;

    // After the backup: one token is replaced, and one user is made.
    world.controller().resume().await.unwrap();
    world
        .user("rotated")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(short))
        .annotation(ROTATE_AT_ANNOTATION, "1")
        .apply()
        .await;
    let after = world
        .until("rotated", "to be rotated", |u| {
            let status = u.status.as_ref().unwrap();
            status.last_handled_rotate_at.is_some() && status.journal.retiring.is_empty()
        })
        .await
        .status
        .unwrap();
    let in_use = world.token("rotated").await;
    world.user("newer").viewer(PAYMENTS).apply().await;
    world.ready("newer").await;
    let newer = world.token("newer").await;
    assert_ne!(before.user_id, after.user_id);
    world.controller().stop().await;
    offline(&world, || copy(&backup, &data)).await;

    world.controller().resume().await.unwrap();
    let user = world
        .until("rotated", "to tell of users that it does not know", |u| {
            let conditions = &u.status.as_ref().unwrap().conditions;
            conditions.iter().any(|c| c.type_ == "HistoryRewound")
        })
        .await;
    let conditions = user.status.unwrap().conditions;
    let rewound = conditions.iter().find(|c| c.type_ == "HistoryRewound").unwrap();
    assert!(
        rewound.message.contains(after.user_id.as_deref().unwrap()),
        "{}",
        rewound.message
    );
    // Its own user is gone since the rotation, and is replaced; programs with the token from after the backup keep working.
    world
        .until("rotated", "to be replaced", |u| {
            u.status.as_ref().unwrap().user_id != before.user_id
        })
        .await;
    world.ready("rotated").await;
    assert!(world.platform().accepts(&world.token("rotated").await).await);
    world
        .eventually("the orphan to be counted", SOON, async || {
            let counts = world.organization().await.status.and_then(|s| s.users);
            match counts {
                Some(counts) if counts.orphaned == 2 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    for (whose, token) in [("rotated", &in_use), ("newer", &newer), ("unchanged", &unchanged)] {
        assert!(
            world.platform().accepts(token).await,
            "the token of {whose} is in use"
        );
    }
    assert_eq!(world.token("unchanged").await, unchanged);
}
