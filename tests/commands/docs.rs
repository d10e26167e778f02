//! docs/commands.md tells what the commands say: flags, keys, examples.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::asked::{ask, keys, of_world, platform_flags, run};
use super::unmanaged::by_hand;
use crate::support::cluster::root;
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

/// The command-line tool.
pub(crate) const COMMANDS: [&str; 9] = [
    "get",
    "why",
    "rotate",
    "revoke",
    "audit",
    "unmanaged",
    "import",
    "doctor",
    "completion",
];

fn text() -> String {
    std::fs::read_to_string(root().join("docs/commands.md")).unwrap()
}

/// What stands under a heading.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let (_, rest) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The output that the page shows after the line `$ programmatic-users COMMAND …`.
fn example(text: &str, command: &str) -> String {
    let after = section(text, command)
        .split_once(&format!("$ programmatic-users {command}"))
        .unwrap()
        .1;
    let block = after.split("\n```").next().unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

/// Words between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[tokio::test]
async fn every_flag_is_in_the_reference() {
    let page = text();
    let common = section(&page, "For all of them");
    for command in COMMANDS {
        let help =
            run(std::process::Command::new(crate::support::cluster::binary()).args([command, "--help"]));
        let known = [common, section(&page, command)].concat();
        let flags = help.expect(0).out;
        let flags: BTreeSet<&str> = flags
            .split_whitespace()
            .filter(|w| w.starts_with("--") && w.len() > 2)
            .map(|w| w.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-'))
            .collect();
        for flag in flags.iter().filter(|f| **f != "--help") {
            // `revoke` says that it has those of `rotate`.
            assert!(
                known.contains(flag) || page.contains(&format!("`{flag}`")),
                "{command} has {flag}"
            );
        }
    }
}

/// What differs from run to run, replaced by what it is; any white space by a single space.
fn masked(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let next = |i: usize| words.get(i + 1).copied().unwrap_or_default();
        let masked = words.iter().enumerate().map(|(i, w)| {
            if next(i) == "leads," {
                "HOLDER".to_owned()
            } else {
                word(w)
            }
        });
        masked.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn word(word: &str) -> String {
    let core = word.trim_matches(|c: char| ".,;:()\"".contains(c));
    let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let user = core.strip_prefix("pu-");
    let of_path = core.rsplit_once("/setup/user/");
    let kind = if core.starts_with("http") && of_path.is_some() {
        "URL-OF-USER"
    } else if core.starts_with("http") {
        "URL"
    } else if user.is_some_and(hex) {
        "USER"
    } else if core
        .rsplit_once('-')
        .is_some_and(|(kind, id)| kind.ends_with("/sig") && hex(id))
    {
        "RESOURCE"
    } else if core.len() >= 20 && core.starts_with("20") && core.ends_with('Z') {
        "TIME"
    } else if core.strip_prefix('v').is_some_and(|v| v.starts_with("1.")) {
        "VERSION"
    } else if core.len() == 4 && hex(core) {
        "DIGITS"
    } else if core.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(number) {
        "AGE"
    } else {
        return word.to_owned();
    };
    word.replace(core, kind)
}

/// The page beside a world whose names differ from its own, and what the commands say otherwise.
struct Page<'w> {
    world: &'w World,
    text: String,
    other: RefCell<Vec<String>>,
}

impl<'w> Page<'w> {
    fn beside(world: &'w World) -> Self {
        Self {
            world,
            text: text(),
            other: RefCell::default(),
        }
    }

    /// With the names of the page.
    fn renamed(&self, said: &str) -> String {
        said.replace(self.world.operator_namespace(), "programmatic-users")
            .replace(self.world.class_name(), "payments")
            .replace(self.world.organization_name(), "acme")
            .replace(self.world.namespace(), "payments")
            .replace("/controller-0", "/programmatic-users")
    }

    fn check(&self, command: &str, said: &str) {
        let said = self.renamed(said);
        if masked(&example(&self.text, command)) != masked(&said) {
            self.other.borrow_mut().push(format!("{command}:\n{said}"));
        }
    }

    /// Every key that a result has is in the page, and every path of the page in the result.
    #[track_caller]
    fn check_keys(&self, command: &str, result: &Value) {
        let rest = section(&self.text, command).split("\nJSON: ").nth(1).unwrap();
        let words = quoted(rest.split("\n\n").next().unwrap());
        let found = keys(result);
        for path in &found {
            let last = path.rsplit('.').next().unwrap();
            assert!(
                words.contains(path.as_str()) || words.contains(last),
                "{command}: {path} is not in docs/commands.md"
            );
        }
        for path in words.iter().filter(|w| w.contains('.')) {
            assert!(
                found.contains(*path),
                "{command} says nothing of {path}, which docs/commands.md has: {found:?}"
            );
        }
    }

    #[track_caller]
    fn done(self) {
        let other = self.other.into_inner().join("\n");
        assert!(
            other.is_empty(),
            "docs/commands.md shows something else than these:\n{other}"
        );
    }
}

/// A user that is ready, and one that cannot be.
async fn two_users(world: &World) {
    let every = json!({"every": "720h"});
    world
        .user("ci-deployer")
        .editor(PAYMENTS)
        .with(|s| s.rotation = serde_json::from_value(every).unwrap())
        .apply()
        .await;
    let typo = world.user("typo").viewer(PAYMENTS).class("paiments");
    typo.apply().await;
    world.ready("ci-deployer").await;
    world.stalled("typo", "UnknownClass").await;
}

#[tokio::test]
async fn the_page_shows_the_output_of_commands_about_the_cluster() {
    let world = World::new("page").await;
    let (page, namespace) = (Page::beside(&world), world.namespace());
    two_users(&world).await;
    let said = |args: &[&str], code: i32| ask(world.cluster(), args).expect(code).out;
    let json_of = |args: &[&str], code: i32| {
        let args = [args, &["-o", "json"]].concat();
        ask(world.cluster(), &args).expect(code).json()
    };
    let get = ["get", "-n", namespace];
    page.check("get", &said(&get, 0));
    page.check_keys("get", &json_of(&get, 0));
    let own = ["-n", namespace, "--lease-name", "controller-0"];
    let place = [&own[..], &["--operator-namespace", world.operator_namespace()]].concat();
    let why = [&["why", "typo"], &place[..]].concat();
    page.check("why", &said(&why, 3));
    page.check_keys("why", &json_of(&why, 3));

    let doctor = [
        "doctor",
        "--service-account",
        "operator",
        "--organization",
        world.organization_name(),
    ];
    let doctor = [&doctor[..], &place].concat();
    let lines = masked(&said(&doctor, 0));
    for line in masked(&example(&page.text, "doctor")).lines() {
        assert!(
            lines.lines().any(|l| l == line),
            "doctor does not say {line:?}:\n{lines}"
        );
    }
    let diagnosis = json_of(&doctor, 0);
    page.check_keys("doctor", &diagnosis);
    let explained = quoted(section(&page.text, "doctor"));
    for check in diagnosis["checks"].as_array().unwrap() {
        let name = check["check"].as_str().unwrap();
        assert!(
            explained.contains(name),
            "docs/commands.md does not explain the check {name}"
        );
    }

    let wait = ["ci-deployer", "-n", namespace, "--wait"];
    let rotate = [&["rotate"], &wait[..]].concat();
    page.check("rotate", &said(&rotate, 0));
    page.check_keys("rotate", &json_of(&rotate, 0));
    page.check("revoke", &said(&[&["revoke", "--yes"], &wait[..]].concat(), 0));
    page.done();
}

#[tokio::test]
async fn the_page_shows_the_output_of_commands_about_the_platform() {
    let world = World::builder("page-platform").drift("1s").start().await;
    let (page, namespace) = (Page::beside(&world), world.namespace());
    two_users(&world).await;
    let flags = platform_flags(&world);
    let check = |args: &[&str]| {
        let said = run(of_world(&world).args(args).args(&flags)).expect(0);
        page.check(args[0], &said.out);
        let output = run(of_world(&world).args(args).args(&flags).args(["-o", "json"])).expect(0);
        page.check_keys(args[0], &output.json());
    };
    let token = world.token("ci-deployer").await;
    let path = format!("/aws/ec2/group?accountId={PAYMENTS}");
    let group = json!({"group": {"name": "g"}});
    assert_eq!(world.platform().post(&path, &token, &group).await.status, 200);
    check(&["audit", "--actor-type", "programmatic", "--account", PAYMENTS]);

    let id = by_hand(&world, "terraform").await;
    world
        .eventually("the user to be counted", SOON, async || {
            let users = world.organization().await.status.and_then(|s| s.users);
            match users {
                Some(counts) if counts.unmanaged == 1 && counts.managed == 1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    check(&["unmanaged"]);

    let import = ["import", &id, "--class", world.class_name(), "-n", namespace];
    let said = run(of_world(&world).args(import).args(&flags[2..])).expect(0);
    page.check("import", &said.out);
    page.done();
}
