//! The files of the embedded database: who may read them, and a copy of them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use programmatic_users::server;

use crate::console::sign_in;
use crate::support::{A, ADMIN, EMAIL, Server};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let server = Server::start().await;
    server.user("viewer", A).await;
    for entry in std::fs::read_dir(server.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_copy_that_is_made_while_it_runs_is_a_platform_of_its_own() {
    let server = Server::start().await;
    let (id, token) = server.user("editor", A).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("platform.db");
    // While others write.
    let writing = async {
        for _ in 0..20 {
            server.user("viewer", A).await;
        }
    };
    let (copied, ()) = tokio::join!(server::backup(server.directory.path(), &copy), writing);
    copied.unwrap();
    assert_eq!(mode(&copy), 0o600);
    // It is not written over, and a folder without a database has none to copy.
    let again = server::backup(server.directory.path(), &copy).await.unwrap_err();
    assert!(
        again.to_string().contains("platform.db is there already"),
        "{again}"
    );
    let empty = tempfile::tempdir().unwrap();
    let nothing = server::backup(empty.path(), &folder.path().join("other"))
        .await
        .unwrap_err();
    assert!(
        nothing.to_string().starts_with("cannot make a backup"),
        "{nothing}"
    );
    assert!(!folder.path().join("other").exists());

    server
        .delete(ADMIN, &format!("/setup/user/{id}"))
        .await
        .expect(200);
    let (restored, first) = Server::open(folder, |_| ()).await;
    assert!(first.is_none(), "nothing is made up anew");
    restored.get(&token, "/setup/account").await.expect(200);
    server.get(&token, "/setup/account").await.expect(401);
}

/// The log that a crash leaves beside a database belongs to that database and to no other.
#[tokio::test]
async fn a_copy_is_restored_into_a_folder_without_a_database_only() {
    let server = Server::start().await;
    let (_, token) = server.user("editor", A).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    server::backup(server.directory.path(), &copy).await.unwrap();
    let restore = async |from: &Path, to: &Path| server::restore(from, to).await.map_err(|e| e.to_string());
    for left in [
        "platform.db",
        "platform.db-wal",
        "platform.db-shm",
        "platform.db-journal",
    ] {
        let used = tempfile::tempdir().unwrap();
        std::fs::write(used.path().join(left), "kept").unwrap();
        let message = restore(&copy, used.path()).await.unwrap_err();
        assert!(message.contains(&format!("{left} is there already")), "{message}");
        let there: Vec<_> = std::fs::read_dir(used.path()).unwrap().collect();
        assert_eq!(there.len(), 1);
        assert_eq!(std::fs::read_to_string(used.path().join(left)).unwrap(), "kept");
    }
    // What is none.
    let missing = folder.path().join("missing");
    let message = restore(&missing, &folder.path().join("a")).await.unwrap_err();
    assert!(message.contains("missing: No such file"), "{message}");
    let nonsense = folder.path().join("nonsense");
    std::fs::write(&nonsense, "nonsense").unwrap();
    let message = restore(&nonsense, &folder.path().join("a")).await.unwrap_err();
    assert!(
        message.ends_with("is no copy of a platform's database"),
        "{message}"
    );
    // A log beside it would be read as part of it.
    let used = folder.path().join("used.db");
    std::fs::copy(&copy, &used).unwrap();
    std::fs::write(folder.path().join("used.db-wal"), "of another").unwrap();
    let message = restore(&used, &folder.path().join("a")).await.unwrap_err();
    assert!(
        message.contains("used.db-wal: is there, so that this is no copy"),
        "{message}"
    );
    let late = folder.path().join("late.db");
    std::fs::write(folder.path().join("late.db-wal"), "of another").unwrap();
    let message = server::backup(server.directory.path(), &late)
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("late.db-wal is there already"), "{message}");
    assert!(!folder.path().join("a").exists());

    let new = tempfile::tempdir().unwrap();
    // What a killed restore leaves does not hinder the next one.
    std::fs::create_dir_all(new.path().join("deep/data")).unwrap();
    std::fs::write(new.path().join("deep/data/platform.db.part"), "half").unwrap();
    std::fs::set_permissions(
        new.path().join("deep/data"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let data = new.path().join("deep").join("data");
    restore(&copy, &data).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("platform.db")), 0o600);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        std::fs::rename(&path, new.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::remove_dir_all(new.path().join("deep")).unwrap();
    let (restored, _) = Server::open(new, |_| ()).await;
    restored.get(&token, "/setup/account").await.expect(200);
}

/// A folder is named as people name them.
#[tokio::test]
async fn the_command_takes_a_relative_folder() {
    let server = Server::start().await;
    let name = server.directory.path().file_name().unwrap();
    let inner = tempfile::tempdir_in(server.directory.path()).unwrap();
    let data = Path::new("../..").join(name).join(".");
    let done = Command::new(env!("CARGO_BIN_EXE_programmatic-users"))
        .args(["recover-admin", "--data"])
        .arg(data)
        .current_dir(inner.path())
        .output()
        .unwrap();
    let wrong = String::from_utf8(done.stderr).unwrap();
    let message = String::from_utf8(done.stdout).unwrap();
    assert!(
        message.starts_with("password of admin@example.com (shown once): "),
        "{wrong}"
    );
    let password = message.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(sign_in(&server, EMAIL, password).await.status, 303);
}
