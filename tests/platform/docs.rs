//! The commands and the policy of `docs/platform.md`, as a person types them one after the other.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{ADMIN, Server};

/// The blocks of a language in a page, joined.
fn blocks(page: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts.map(|p| p.split("```").next().unwrap()).collect()
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn the_commands_of_the_page_work() {
    let page = include_str!("../../docs/platform.md");
    let commands = blocks(page, "sh");
    assert!(
        commands.contains("programmatic-users backup") && commands.contains("programmatic-users restore")
    );
    // Others see the arguments of a process.
    assert!(!page.contains("-H \"Authorization"), "no token on a command line");
    let (first, second) = (free_port(), free_port());
    let listening = format!("programmatic-users platform --listen 127.0.0.1:{first} --data ./platform");
    let commands = commands
        .replace("programmatic-users platform --data ./platform", &listening)
        .replace(":8700", &format!(":{first}"))
        .replace(":8701", &format!(":{second}"));
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n{commands}");
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_programmatic-users"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let done = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{script}\n{out}\n{err}");
    // The copy knows the user; the policy explains why it may not; the log says who made it.
    assert_eq!(out.matches("\"username\":\"ci-deployer\"").count(), 1, "{out}");
    assert!(out.contains("\"decision\":\"DENY\""), "{out}");
}

#[tokio::test]
async fn the_policy_of_the_page_is_taken() {
    let server = Server::start().await;
    let policy = serde_json::from_str(&blocks(include_str!("../../docs/platform.md"), "json")).unwrap();
    server
        .post(ADMIN, "/setup/access/policy", policy)
        .await
        .expect(200);
}
