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
async fn nobody_else_may_read_them() {
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
    assert!(again.to_string().contains("platform.db: File exists"), "{again}");
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
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(
        told.starts_with("password of admin@example.com (shown once): "),
        "{wrong}"
    );
    let password = told.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(sign_in(&server, EMAIL, password).await.status, 303);
}
