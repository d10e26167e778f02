//! The same program as a plugin of kubectl, and its completion.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::asked::{Said, program, run};
use crate::docs::COMMANDS;
use crate::support::cluster::{binary, root};
use crate::support::{PAYMENTS, World};

/// A PATH with the plugin in it, and the page's program for its completion.
fn path(world: &World) -> String {
    let dir = world.dir().join("plugins");
    std::fs::create_dir_all(&dir).unwrap();
    symlink(binary(), dir.join("kubectl-programmatic_users")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let (_, block) = page.split_once("\n```bash\n").unwrap();
    let completes = dir.join("kubectl_complete-programmatic_users");
    std::fs::write(&completes, block.split("```").next().unwrap()).unwrap();
    std::fs::set_permissions(&completes, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn kubectl_runs_it_as_a_plugin() {
    let world = World::new("plugin").await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    world.ready("ci").await;
    let path = path(&world);
    let kubectl = |args: &[&str]| {
        let mut command = Command::new(&world.cluster().info().kubectl);
        command
            .args(args)
            .env("PATH", &path)
            .env("KUBECONFIG", &world.cluster().info().kubeconfig)
            .env_remove("SPOTINST_TOKEN")
            .stdin(Stdio::null());
        run(&mut command)
    };
    kubectl(&["plugin", "list"])
        .expect(0)
        .shows("kubectl-programmatic_users");
    let get = kubectl(&["programmatic-users", "get", "-n", world.namespace()]).expect(0);
    assert_eq!(get.line("ci")[2..4], ["True", "Ready"]);
    // Codes come through.
    kubectl(&["programmatic-users", "why", "missing", "-n", world.namespace()]).expect(1);
    kubectl(&["programmatic-users", "get", "--nonsense"]).expect(2);
    let help = kubectl(&["programmatic-users", "rotate", "--help"]).expect(0);
    help.shows("Usage: kubectl programmatic-users rotate [OPTIONS] <NAME>");
    // What kubectl offers to every shell, one a line.
    let complete =
        |words: &[&str]| kubectl(&[&["__complete", "programmatic-users"], words].concat()).expect(0);
    let commands = complete(&["unm"]).out;
    assert_eq!(commands.lines().next(), Some("unmanaged"), "{commands}");
    let types = complete(&["audit", "--actor-type", ""]).out;
    assert!(types.contains("programmatic\n"), "{types}");
}

#[tokio::test]
async fn help_names_the_program_as_it_was_called() {
    let said = run(Command::new(binary()).arg("--help")).expect(0);
    let said = said.shows("Usage: programmatic-users ");
    for command in COMMANDS.into_iter().chain(["controller", "platform"]) {
        let described =
            |l: &str| l.split_whitespace().next() == Some(command) && l.split_whitespace().count() > 3;
        assert!(
            said.out.lines().any(described),
            "{command} has no description: {}",
            said.out
        );
    }
}

/// What bash would offer after `words`.
fn offered(script: &str, words: &[&str]) -> Said {
    let line = format!(
        "{script}\nCOMP_WORDS=({}); COMP_CWORD={}; _programmatic__users programmatic-users '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    run(Command::new("bash").args(["--norc", "-c", &line])).expect(0)
}

#[tokio::test]
async fn shells_complete_commands_and_flags() {
    let nowhere = std::path::Path::new("/nonexistent");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        run(program(nowhere).args(["completion", shell]))
            .expect(0)
            .shows("unmanaged");
    }
    run(program(nowhere).args(["completion", "csh"])).expect(2);
    let script = run(program(nowhere).args(["completion", "bash"])).out;
    assert_eq!(
        offered(&script, &["programmatic-users", "unm"]).out,
        "unmanaged\n"
    );
    let flags = offered(&script, &["programmatic-users", "audit", "--actor"]).out;
    assert_eq!(flags, "--actor-type\n--actor\n");
    let types = offered(&script, &["programmatic-users", "audit", "--actor-type", ""]).out;
    assert!(types.contains("programmatic\n"), "{types}");
}
