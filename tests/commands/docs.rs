//! docs/commands.md tells what the commands say: flags, keys, examples.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::asked::{ask, keys, of_world, platform_flags, run};
use super::unmanaged::by_hand;
use crate::support::cluster::root;
use crate::support::{PAYMENTS, World};

const COMMANDS: [&str; 9] = [
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
        .rsplit_once("-")
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

/// The world with the names of the page, and what differs from the page.
struct Named<'w>(&'w World, RefCell<Vec<String>>);

impl Named<'_> {
    fn of_the_page(&self, said: &str) -> String {
        said.replace(self.0.operator_namespace(), "programmatic-users")
            .replace(self.0.class_name(), "payments")
            .replace(self.0.organization_name(), "acme")
            .replace(self.0.namespace(), "payments")
            .replace("/controller-0", "/programmatic-users")
    }

    fn check(&self, page: &str, command: &str, said: &str) {
        let said = self.of_the_page(said);
        if masked(&example(page, command)) != masked(&said) {
            self.1.borrow_mut().push(format!("{command}:\n{said}"));
        }
    }
}

/// Every key that a result has is in the page, and every path of the page in the result.
#[track_caller]
fn check_keys(page: &str, command: &str, result: &Value) {
    let paragraph = section(page, command)
        .split("\nJSON: ")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let words = quoted(paragraph);
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

#[tokio::test]
async fn examples_and_keys_are_what_the_commands_say() {
    let world = World::builder("page").drift("1s").start().await;
    let (page, names, namespace) = (text(), Named(&world, RefCell::default()), world.namespace());
    let flags = platform_flags(&world);
    let ask = |args: &[&str]| ask(world.cluster(), args);
    let platform = |args: &[&str]| run(of_world(&world).args(args).args(&flags));
    let both = |args: &[&str]| {
        (
            platform(args).expect(0).out,
            platform(&[args, &["-o", "json"]].concat()).expect(0).json(),
        )
    };

    let every = json!({"every": "720h"});
    world
        .user("ci-deployer")
        .editor(PAYMENTS)
        .with(|s| s.rotation = serde_json::from_value(every).unwrap())
        .apply()
        .await;
    world
        .user("typo")
        .viewer(PAYMENTS)
        .class("paiments")
        .apply()
        .await;
    world.ready("ci-deployer").await;
    world.stalled("typo", "UnknownClass").await;
    names.check(&page, "get", &ask(&["get", "-n", namespace]).expect(0).out);
    check_keys(
        &page,
        "get",
        &ask(&["get", "-n", namespace, "-o", "json"]).expect(0).json(),
    );

    let own = [
        "-n",
        namespace,
        "--operator-namespace",
        world.operator_namespace(),
        "--lease-name",
        "controller-0",
    ];
    let why = [&["why", "typo"], &own[..]].concat();
    names.check(&page, "why", &ask(&why).expect(3).out);
    check_keys(
        &page,
        "why",
        &ask(&[&why[..], &["-o", "json"]].concat()).expect(3).json(),
    );

    let token = world.token("ci-deployer").await;
    let path = format!("/aws/ec2/group?accountId={PAYMENTS}");
    let made = world
        .platform()
        .post(&path, &token, &json!({"group": {"name": "g"}}))
        .await;
    assert_eq!(made.status, 200);
    let (said, told) = both(&["audit", "--actor-type", "programmatic", "--account", PAYMENTS]);
    names.check(&page, "audit", &said);
    check_keys(&page, "audit", &told);

    let id = by_hand(&world, "terraform").await;
    world
        .eventually("the user to be counted", crate::support::wait::SOON, async || {
            let status = world.organization().await.status.unwrap_or_default();
            let counted = status.users.is_some_and(|u| u.unmanaged == 1 && u.managed == 1);
            if counted {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    let (said, told) = both(&["unmanaged"]);
    names.check(&page, "unmanaged", &said);
    check_keys(&page, "unmanaged", &told);

    let import = ["import", &id, "--class", world.class_name(), "-n", namespace];
    let said = run(of_world(&world).args(import).args(&flags[2..])).expect(0).out;
    names.check(&page, "import", &said);

    let wait = ["ci-deployer", "-n", namespace, "--wait"];
    let said = ask(&[&["rotate"], &wait[..]].concat()).expect(0).out;
    names.check(&page, "rotate", &said);
    let told = ask(&[&["rotate"], &wait[..], &["-o", "json"]].concat())
        .expect(0)
        .json();
    check_keys(&page, "rotate", &told);
    let said = ask(&[&["revoke"], &wait[..], &["--yes"]].concat()).expect(0).out;
    names.check(&page, "revoke", &said);

    let doctor = [&["doctor", "--service-account", "operator"], &own[..2], &own[4..]].concat();
    let (said, told) = both(&doctor);
    let shown = masked(&example(&page, "doctor"));
    let said = masked(&said);
    for line in shown.lines() {
        assert!(
            said.lines().any(|l| l == line),
            "doctor does not say {line:?}:\n{said}"
        );
    }
    check_keys(&page, "doctor", &told);
    let checks = quoted(section(&page, "doctor"));
    for check in told["checks"].as_array().unwrap() {
        let name = check["check"].as_str().unwrap();
        assert!(
            checks.contains(name),
            "docs/commands.md does not explain the check {name}"
        );
    }
    let other = names.1.into_inner();
    assert!(
        other.is_empty(),
        "docs/commands.md shows something else than these:\n{}",
        other.join("\n")
    );
}
