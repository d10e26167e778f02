//! Runs a command and looks at all that it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::canary::lookalikes;
use crate::support::cluster::binary;
use crate::support::{Cluster, World};

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// No command prints a token, whatever comes.
    pub fn of(output: Output) -> Self {
        let said = Self {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("results are UTF-8"),
            err: String::from_utf8(output.stderr).expect("notes are UTF-8"),
        };
        for text in [&said.out, &said.err] {
            assert_eq!(lookalikes(text).next(), None, "something like a token in {text}");
        }
        said
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The result as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Fails unless standard error has this.
    #[track_caller]
    pub fn tells(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    /// Fails unless the result has this.
    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.out.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    /// The line of a table that has this word.
    #[track_caller]
    pub fn line(&self, word: &str) -> Vec<&str> {
        let line = self.out.lines().find(|l| l.split_whitespace().any(|w| w == word));
        let line = line.unwrap_or_else(|| panic!("{word} is not in {self:#?}"));
        // Columns are three spaces apart, words one.
        line.split("   ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .collect()
    }
}

/// The program with an environment of its own.
pub fn program(kubeconfig: &Path) -> Command {
    by_itself(Command::new(binary()), kubeconfig)
}

/// The same with these arguments, as an administrator of the cluster, at a terminal.
pub fn at_a_terminal(cluster: &Cluster, arguments: &str) -> Command {
    // Of Debian's package bsdutils.
    let mut command = Command::new("script");
    let line = format!("{} {arguments}", binary().display());
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    by_itself(command, Path::new(&cluster.info().kubeconfig))
}

fn by_itself(mut command: Command, kubeconfig: &Path) -> Command {
    command
        .env("KUBECONFIG", kubeconfig)
        .env_remove("SPOTINST_TOKEN")
        .env_remove("RUST_LOG")
        .stdin(std::process::Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    Said::of(command.output().expect("the program is there"))
}

/// As an administrator of the cluster.
pub fn ask(cluster: &Cluster, args: &[&str]) -> Said {
    run(program(Path::new(&cluster.info().kubeconfig)).args(args))
}

/// Flags by which a command finds the platform of this world.
pub fn platform_flags(world: &World) -> [String; 4] {
    [
        "--organization".to_owned(),
        world.organization_name().to_owned(),
        "--operator-namespace".to_owned(),
        world.operator_namespace().to_owned(),
    ]
}

/// As an administrator of the cluster, about this world's platform.
pub fn ask_platform(world: &World, args: &[&str]) -> Said {
    run(of_world(world).args(args).args(platform_flags(world)))
}

/// The program with this world's cluster.
pub fn of_world(world: &World) -> Command {
    program(Path::new(&world.cluster().info().kubeconfig))
}

/// A kubeconfig of an account that has no rights but those that a test gives.
pub fn kubeconfig_of(world: &World, user: &str) -> PathBuf {
    let path = &world.cluster().info().kubeconfig;
    let text = std::fs::read_to_string(path).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    for entry in config["users"].as_array_mut().unwrap() {
        entry["user"]["as"] = json!(world.unique(user));
        entry["user"]["as-groups"] = json!(["system:authenticated"]);
    }
    let path = world.dir().join(format!("{user}.kubeconfig"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// All keys of a JSON value, as paths.
pub fn keys(value: &Value) -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, at: &str, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                found.insert(at.clone());
                // Keys of counts are values.
                if key != "counts" {
                    collect(value, &at, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| collect(v, at, found)),
        _ => {}
    }
}
