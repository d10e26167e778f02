//! Tests of decisions: a small world answers the steps, and the order of the steps is looked at.

mod bounds;
mod ceiling;
mod checks;
mod consumers;
mod corruption;
mod creation;
mod deletion;
mod forgery;
mod granted;
mod levels;
mod power;
mod readiness;
mod recovery;
mod refusals;
mod retention;
mod rollouts;
mod rotation;
mod unrecorded;
mod waiting;
mod withdrawals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde_json::json;

use super::*;
use crate::api::{
    CLASS_FINALIZER, FINALIZER, Organization, ProgrammaticUser, ProgrammaticUserClass, READY, RECONCILING,
    Reason, STALLED,
};
use crate::platform::UserName;

const NONCE: &str = "aaaabbbbccccdddd";

fn class() -> ProgrammaticUserClass {
    let mut class: ProgrammaticUserClass = serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUserClass", "metadata": {"name": "editors"},
        "spec": {
            "organizationName": "acme", "scopes": ["Account", "Organization"],
            "allow": {"roles": ["Viewer", "Editor", "PolicyBased"], "accounts": ["*"], "policies": ["*"], "groups": ["*"],
                "secret": {"names": ["*"], "labels": ["*"], "annotations": ["*"], "keys": ["*"], "template": ["*"]},
                "deletionPolicies": ["Delete", "Retain"], "suspend": true},
            "namespaces": {"matchNames": ["payments"]}
        }
    }))
    .unwrap();
    class.metadata.generation = Some(1);
    class.metadata.finalizers = Some(vec![CLASS_FINALIZER.to_owned()]);
    class
}

fn organization() -> Organization {
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
        "spec": {"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "acme-admin"}}
    }))
    .unwrap()
}

fn user(spec: &serde_json::Value) -> ProgrammaticUser {
    let mut object: ProgrammaticUser = serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {}, "spec": spec
    }))
    .unwrap();
    object.metadata = ObjectMeta {
        name: Some("ci".to_owned()),
        namespace: Some("payments".to_owned()),
        uid: Some("uid-1".to_owned()),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    object
}

fn editor() -> ProgrammaticUser {
    user(
        &json!({"className": "editors", "scope": "Organization", "access": {"role": "Editor", "accounts": [{"id": "act-1"}]}}),
    )
}

fn observed(user: ProgrammaticUser) -> Observed {
    Observed {
        user: Arc::new(user),
        unreadable: None,
        class: Some(Arc::new(class())),
        organization: Some(Arc::new(organization())),
        namespace_labels: BTreeMap::new(),
        namespace_ends: false,
        quota_used: 0,
        current_secret: SecretView::Absent,
        next_secret: SecretView::Absent,
        staged: Vec::new(),
        intact: true,
        full_check: false,
        unknown_users: None,
        consumers: Consumers::default(),
        platform_now: Some(now()),
        instance: "abcdef".to_owned(),
        fresh_nonce: NONCE.to_owned(),
        expired_attempts: BTreeSet::new(),
        next_expiry: Duration::ZERO,
        validated: None,
        answers: Answers::default(),
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog {
        accounts: serde_json::from_value(json!([{"accountId": "act-1"}, {"accountId": "act-2"}])).unwrap(),
        policies: serde_json::from_value(json!([
            {"id": "2", "name": "Account Editor"}, {"id": "3", "name": "Account Viewer"}, {"id": "pol-1", "name": "ops"}, {"id": "pol-2", "name": "twice"}, {"id": "pol-3", "name": "twice"}
        ]))
        .unwrap(),
        groups: serde_json::from_value(json!([{"id": "ugr-1", "name": "deployers"}])).unwrap(),
    })
}

fn found(catalog: Arc<Catalog>) -> Found {
    Found {
        catalog,
        fresh: true,
        again: None,
    }
}

fn now() -> Timestamp {
    "2026-01-05T10:11:12Z".parse().unwrap()
}

fn problem(reason: Reason) -> Problem {
    Problem {
        reason,
        message: "it broke".to_owned(),
        retry: Retry::Backoff,
    }
}

/// Answers steps until the plan rests; `answer` may answer a step first. Returns the steps' names and the rest.
fn run(
    o: &mut Observed,
    mut answer: impl FnMut(&Step, &mut Observed) -> bool,
) -> (Vec<&'static str>, Verdict) {
    let mut taken = Vec::new();
    for _ in 0..40 {
        let step = match next(o, now()) {
            Decision::Done(rest) => return (taken, rest),
            Decision::Do(step) => step,
        };
        taken.push(name(&step));
        if !answer(&step, o) {
            answer_well(step, o);
        }
    }
    panic!("no end after {taken:?}");
}

/// What a cluster and a platform answer where nothing goes wrong.
fn answer_well(step: Step, o: &mut Observed) {
    match step {
        Step::LookUp(_) => o.answers.catalog = Some(Ok(found(catalog()))),
        Step::AddFinalizer => {
            Arc::make_mut(&mut o.user).metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        }
        Step::Reserve(purpose) => o.answers.reserved = Some((purpose, Ok(()))),
        Step::DryRun(..) => o.answers.dry_run = Some(Ok(())),
        Step::Journal(status, begun) => {
            Arc::make_mut(&mut o.user).status = Some(*status);
            o.answers.begun_attempt = begun;
        }
        Step::Create(_) => {
            o.answers.created = Some(Created::Yes {
                user_id: "pu-1".to_owned(),
                last_digits: "ab12".to_owned(),
            });
        }
        Step::Commit(_) => o.answers.committed = Some(Committed::Yes),
        Step::Stage { nonce, user_id } => {
            o.answers.staged = Some(Committed::Yes);
            o.staged.push(staged(&nonce, &user_id));
        }
        Step::Publish(..) => o.answers.published = Some(Committed::Yes),
        Step::Unstage(staged) => drop(o.answers.unstaged.insert(staged.nonce, Ok(()))),
        Step::Tombstone(_) => o.answers.tombstoned = Some(Ok(())),
        Step::Fence(_) => o.answers.fenced = Some(Ok(())),
        Step::Compensate(_) => o.answers.compensated = Some(Ok(())),
        Step::ReadUser(id) => drop(o.answers.details.insert(id, Ok(None))),
        Step::PutPolicies(id, _) => drop(o.answers.policies_put.insert(id, Ok(()))),
        Step::PutGroups(id, _) => drop(o.answers.groups_put.insert(id, Ok(()))),
        Step::Verify(source) => drop(o.answers.verified.insert(source, Ok(true))),
        Step::ListUsers => o.answers.listed = Some(Ok(Vec::new())),
        Step::DeleteUser(id, _) => {
            o.answers.deleted.insert(id, Ok(Deletion::Gone));
        }
        Step::DeleteSecret(own) => {
            o.answers.secrets_deleted.insert(own.name, Ok(()));
        }
        Step::DeleteOldSecret { name, nonce } => {
            o.answers.old_secrets_deleted.insert((name, nonce), Ok(()));
        }
        Step::HoldClass => {
            let class = Arc::make_mut(o.class.as_mut().unwrap());
            class.metadata.finalizers = Some(vec![CLASS_FINALIZER.to_owned()]);
        }
        Step::Record(_) => o.answers.recorded = Some(Ok(())),
        Step::Release(_) => o.answers.released = Some(Ok(())),
        Step::ReadPods(_) => o.answers.pods = Some(Ok(Vec::new())),
        Step::Restart(restart) => {
            o.answers.restarted.insert(restart.workload, Ok(true));
        }
        Step::RemoveFinalizer => o.answers.finalizer_removed = true,
    }
}

/// The platform's answer to [`Step::ReadUser`].
fn answer_read(step: &Step, o: &mut Observed, details: Option<UserDetails>) {
    let Step::ReadUser(id) = step else {
        panic!("{step:?} reads no user");
    };
    o.answers.details.insert(id.clone(), Ok(details));
}

/// The platform's answer to [`Step::Verify`].
fn answer_verify(step: &Step, o: &mut Observed, accepted: bool) {
    let Step::Verify(token) = step else {
        panic!("{step:?} verifies no token");
    };
    o.answers.verified.insert(token.clone(), Ok(accepted));
}

/// The first write of an attempt has a name of its own.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Journal(_, Some(_)) => "intent",
        _ => step.name(),
    }
}

fn condition(rest: &Verdict, type_: &str) -> Option<(String, String, String)> {
    let conditions = &rest.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
}

fn reason(rest: &Verdict) -> String {
    condition(rest, READY).map(|c| c.1).unwrap_or_default()
}

const CREATION: [&str; 8] = [
    "look-up",
    "reserve",
    "finalizer",
    "dry-run",
    "intent",
    "create",
    "commit",
    "verify",
];

fn made() -> Observed {
    let mut o = observed(editor());
    let (_, rest) = run(&mut o, |_, _| false);
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.current_secret = own_secret(NONCE);
    o.next_secret = o.current_secret.clone();
    o.answers = Answers::default();
    o
}

/// What the platform has of the user that one attempt made.
fn own<T: serde::de::DeserializeOwned>(o: &Observed, id: &str, nonce: &str) -> T {
    let editor = json!([{"policyId": "2", "accountIds": ["act-1"]}]);
    let name = o.marker(nonce).name("ci");
    let user = json!({"userId": id, "type": "programmatic", "username": name, "policies": editor});
    serde_json::from_value(user).unwrap()
}

fn staged(nonce: &str, user_id: &str) -> Staged {
    Staged {
        name: format!("staging-{nonce}"),
        uid: "staging-uid".to_owned(),
        nonce: nonce.to_owned(),
        user_id: Some(user_id.to_owned()),
    }
}

fn own_secret(nonce: &str) -> SecretView {
    SecretView::Ours(OwnSecret {
        name: "ci".to_owned(),
        resource_version: "5".to_owned(),
        uid: "secret-uid".to_owned(),
        nonce: Some(nonce.to_owned()),
        user_id: Some("pu-1".to_owned()),
        unedited: true,
        immutable: false,
        changed: None,
    })
}
