//! Between the model's small words and the types that the shipped plan takes and gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use programmatic_users::api::{
    Abandoned, CLASS_FINALIZER, Current, FINALIZER, Granted, NONCE_ANNOTATION, Organization, Pending,
    ProgrammaticUser, ProgrammaticUserClass, ProgrammaticUserStatus, REVOKE_NOW_ANNOTATION,
    ROTATE_AT_ANNOTATION, Retiring, Scope, USER_ID_ANNOTATION,
};
use programmatic_users::plan::{
    self, Catalog, Consumers, Decision, Found, Marker, Observed, OwnSecret, SecretDraft, SecretView, Staged,
    Step, TokenSource,
};
use serde_json::json;

use crate::act::Act;
use crate::answers::learned;
use crate::config::Config;
use crate::mutant::Mutant;
use crate::names::{
    ALIEN_ID, GROUPS, INSTANCE, UID, annotation, annotation_number, nonce, number, secret_name,
    secret_number, user_id, user_number,
};
use crate::world::{self, ALIEN, Nonce, Owner, Secret, Seen, Status, bit, has, items};

const REVOKED: &str = "Revoked";
/// Resource versions: of the target Secret as it was seen, and of the current user's.
const TARGET: &str = "target";
const CURRENT: &str = "current";

/// Everything of the real types that stays the same in one configuration.
pub struct Translator {
    versions: [ProgrammaticUser; 2],
    fingerprints: [String; 2],
    digests: [String; 2],
    granted: [Granted; 2],
    class: Arc<ProgrammaticUserClass>,
    organization: Arc<Organization>,
    found: Found,
    check: bool,
    now: Timestamp,
}

fn view(secret: Secret, at: u8, version: &str) -> SecretView {
    match secret.owner {
        Owner::Absent => SecretView::Absent,
        Owner::Foreign | Owner::Released => SecretView::Foreign("is somebody else's".to_owned()),
        Owner::Ours => SecretView::Ours(OwnSecret {
            name: secret_name(at),
            resource_version: version.to_owned(),
            uid: version.to_owned(),
            nonce: (secret.n > 0).then(|| nonce(secret.n)),
            user_id: (secret.n > 0).then(|| user_id(if secret.alien { ALIEN } else { secret.n })),
            unedited: secret.intact,
            immutable: false,
            changed: None,
        }),
    }
}

impl Translator {
    pub fn new(config: &Config) -> Self {
        let class: ProgrammaticUserClass = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUserClass",
            "metadata": {"name": "c", "finalizers": [CLASS_FINALIZER]},
            "spec": {
                "organizationName": "acme", "scopes": ["Organization"], "namespaces": {"matchNames": ["ns"]},
                "allow": {
                    "roles": ["Editor"], "accounts": ["*"], "policies": ["*"], "groups": ["*"], "secret": {"names": ["*"]},
                    "deletionPolicies": ["Delete", "Retain"],
                },
            }
        }))
        .unwrap();
        let organization: Organization = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
            "spec": {"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "admin"}}
        }))
        .unwrap();
        let version = |spec: u8| -> ProgrammaticUser {
            let of = if config.regroup {
                (0, usize::from(spec))
            } else {
                (spec, 0)
            };
            let groups = if config.groups {
                json!([{"name": GROUPS[of.1].1}])
            } else {
                json!([])
            };
            let at = if config.rename { spec } else { 0 };
            serde_json::from_value(json!({
                "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
                "metadata": {"name": "ci", "namespace": "ns", "uid": UID, "generation": 1},
                "spec": {
                    "className": "c", "scope": "Organization", "description": format!("version {}", of.0),
                    "access": {"role": "Editor", "accounts": [{"id": "act-1"}], "groups": groups},
                    "secret": {"name": secret_name(at)},
                    "deletionPolicy": if config.retain && config.mutant != Some(Mutant::IgnoreRetain) { "Retain" } else { "Delete" },
                }
            }))
            .unwrap()
        };
        let versions = [version(0), version(1)];
        let [first, second] = versions
            .each_ref()
            .map(|v| plan::validate(v, &class, &organization).unwrap());
        assert_eq!(first.access_digest == second.access_digest, !config.regroup);
        assert_eq!(first.fingerprint == second.fingerprint, config.regroup);
        let catalog = Catalog {
            accounts: serde_json::from_value(json!([{"accountId": "act-1"}])).unwrap(),
            policies: Vec::new(),
            groups: serde_json::from_value(
                GROUPS
                    .iter()
                    .map(|(id, name)| json!({"id": id, "name": name}))
                    .collect(),
            )
            .unwrap(),
        };
        let granted = [&first, &second].map(|d| Granted::new(Scope::Organization, &d.access, Some(&catalog)));
        Self {
            versions,
            fingerprints: [first.fingerprint, second.fingerprint],
            granted,
            digests: [first.access_digest, second.access_digest],
            class: Arc::new(class),
            organization: Arc::new(organization),
            found: Found {
                catalog: Arc::new(catalog),
                fresh: true,
                again: None,
            },
            check: config.check,
            now: "2026-01-05T10:11:12Z".parse().unwrap(),
        }
    }

    /// Name of the Secret of one version of the spec.
    fn secret_of(&self, spec: u8) -> Option<String> {
        self.versions[usize::from(spec)].spec.secret.name.clone()
    }

    fn version_of(&self, fingerprint: &str) -> u8 {
        let at = self.fingerprints.iter().position(|f| f == fingerprint).unwrap();
        u8::try_from(at).unwrap()
    }

    fn access_version(&self, digest: &str) -> u8 {
        let at = self.digests.iter().position(|d| d == digest).unwrap();
        u8::try_from(at + 1).unwrap()
    }

    /// What is recorded as granted of these versions of the spec.
    fn granted(&self, versions: u8) -> Option<Granted> {
        let mut granted = (0..2)
            .filter(|version| versions >> version & 1 == 1)
            .map(|v| &self.granted[v]);
        let mut all = granted.next()?.clone();
        all.groups.extend(granted.flat_map(|more| more.groups.clone()));
        all.groups.sort_by(|a, b| a.id.cmp(&b.id));
        Some(all)
    }

    fn granted_versions(granted: Option<&Granted>) -> u8 {
        let groups = granted.iter().flat_map(|granted| &granted.groups);
        let has_none = granted.is_some_and(|granted| granted.groups.is_empty());
        let ids: Vec<_> = groups.filter_map(|group| group.id.as_deref()).collect();
        let bits = (0..2)
            .filter(|at| ids.contains(&GROUPS[*at].0))
            .fold(0, |bits, at| bits | 1 << at);
        if has_none { 1 } else { bits }
    }

    /// What the plan says to what a process knows.
    pub fn decide(&self, seen: &Seen) -> Act {
        let mut observed = self.observed(seen);
        match self.ask(&mut observed) {
            Decision::Do(step) => self.act(step, seen),
            Decision::Done(rest) => {
                let status = rest.status.map(|s| self.abstract_status(*s));
                match status {
                    Some(status) if status != seen.object.status => Act::Leave(status),
                    _ => Act::Stop,
                }
            }
        }
    }

    /// The catalog and the dry-run depend on nothing that happens here and are answered at once. That a dry-run would
    /// have failed only keeps from harm.
    fn ask(&self, observed: &mut Observed) -> Decision {
        loop {
            match plan::next(observed, self.now) {
                Decision::Do(Step::LookUp(_)) => observed.answers.catalog = Some(Ok(self.found.clone())),
                Decision::Do(Step::DryRun(..)) => observed.answers.dry_run = Some(Ok(())),
                next => return next,
            }
        }
    }

    fn observed(&self, seen: &Seen) -> Observed {
        let object = &seen.object;
        let mut user = self.versions[usize::from(object.spec)].clone();
        let meta = &mut user.metadata;
        meta.deletion_timestamp = object.deleting.then_some(Time(self.now));
        meta.finalizers = object.finalizer.then(|| vec![FINALIZER.to_owned()]);
        let asked = [
            (ROTATE_AT_ANNOTATION, object.rotate),
            (REVOKE_NOW_ANNOTATION, object.revoke),
        ];
        meta.annotations = Some(
            asked
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), annotation(value)?)))
                .collect(),
        );
        user.status = Some(self.real_status(&object.status));
        let mut settled = BTreeSet::new();
        settled.extend(items(seen.settled).map(nonce));
        let current_version = if seen.target_at == seen.current_at {
            TARGET
        } else {
            CURRENT
        };
        Observed {
            user: Arc::new(user),
            unreadable: None,
            class: Some(self.class.clone()),
            organization: Some(self.organization.clone()),
            namespace_labels: BTreeMap::new(),
            namespace_ends: false,
            quota_used: 0,
            current_secret: view(seen.current, seen.current_at, current_version),
            next_secret: view(seen.target, seen.target_at, TARGET),
            staged: (items(seen.staged).map(|n| staged(n, Some(user_id(n)))))
                .chain(items(seen.barred).map(|n| staged(n, None)))
                .collect(),
            intact: true,
            full_check: self.check,
            unknown_users: None,
            consumers: Consumers::default(),
            platform_now: Some(self.now),
            instance: INSTANCE.to_owned(),
            fresh_nonce: nonce(world::FRESH),
            expired_attempts: settled,
            next_expiry: Duration::from_secs(30),
            validated: None,
            answers: learned(seen),
        }
    }

    fn real_status(&self, status: &Status) -> ProgrammaticUserStatus {
        let mut real = ProgrammaticUserStatus::default();
        let (pending, current) = (status.pending, status.current);
        let id = |n: Nonce, alien: bool| user_id(if alien { ALIEN } else { n });
        real.journal.pending = (pending.n > 0).then(|| Pending {
            nonce: nonce(pending.n),
            started_at: if pending.old {
                self.now - SignedDuration::from_hours(1)
            } else {
                self.now
            },
            reason: if pending.urgent { REVOKED } else { "Requested" }.to_owned(),
            fingerprint: self.fingerprints[usize::from(pending.spec)].clone(),
            secret_name: self.secret_of(pending.spec).unwrap(),
            rotate_at: annotation(pending.rotate),
            revoke_now: annotation(pending.revoke),
            granted: self.granted(pending.granted),
        });
        if current.n > 0 {
            real.journal.current = Some(Current {
                nonce: nonce(current.n),
                user_id: id(current.n, current.alien),
                fingerprint: self.fingerprints[usize::from(current.spec)].clone(),
                access: (current.access > 0).then(|| self.digests[usize::from(current.access - 1)].clone()),
                granted: self.granted(current.granted),
                replaced_at: None,
            });
            real.user_id = Some(id(current.n, current.alien));
            real.secret_name = self.secret_of(current.spec);
            real.token_issued_at = Some(self.now);
        }
        let retiring = items(status.retiring).map(|n| Retiring {
            nonce: nonce(n),
            user_id: id(n, has(status.alien, n)),
            not_before: self.now
                + if has(status.due, n) {
                    SignedDuration::ZERO
                } else {
                    SignedDuration::from_hours(24)
                },
            not_after: None,
            replaced_at: None,
            secret_name: [0, 1]
                .into_iter()
                .find(|at| has(status.left[usize::from(*at)], n))
                .map(secret_name),
            granted: self
                .granted(u8::from(has(status.granted[0], n)) | u8::from(has(status.granted[1], n)) << 1),
        });
        real.journal.retiring = retiring.collect();
        real.journal.abandoned = items(status.abandoned)
            .map(|n| Abandoned { nonce: nonce(n) })
            .collect();
        real.last_handled_rotate_at = annotation(status.rotate);
        real.last_handled_revoke_now = annotation(status.revoke);
        real.organization_name = (status.journal() != 0).then(|| "acme".to_owned());
        real
    }

    fn abstract_status(&self, real: ProgrammaticUserStatus) -> Status {
        let mut status = Status {
            rotate: annotation_number(real.last_handled_rotate_at.as_ref()),
            revoke: annotation_number(real.last_handled_revoke_now.as_ref()),
            ..Status::default()
        };
        if let Some(pending) = &real.journal.pending {
            status.pending = world::Pending {
                n: number(&pending.nonce),
                spec: self.version_of(&pending.fingerprint),
                rotate: annotation_number(pending.rotate_at.as_ref()),
                revoke: annotation_number(pending.revoke_now.as_ref()),
                urgent: pending.reason == REVOKED,
                old: pending.started_at < self.now,
                granted: Self::granted_versions(pending.granted.as_ref()),
            };
        }
        if let Some(current) = &real.journal.current {
            status.current = world::Current {
                n: number(&current.nonce),
                spec: self.version_of(&current.fingerprint),
                access: current
                    .access
                    .as_ref()
                    .map_or(0, |digest| self.access_version(digest)),
                granted: Self::granted_versions(current.granted.as_ref()),
                alien: current.user_id == ALIEN_ID,
            };
        }
        for old in &real.journal.retiring {
            let set = bit(number(&old.nonce));
            assert!(status.retiring & set == 0, "retiring twice");
            status.retiring |= set;
            if old.not_before <= self.now {
                status.due |= set;
            }
            if old.user_id == ALIEN_ID {
                status.alien |= set;
            }
            let granted = Self::granted_versions(old.granted.as_ref());
            for (version, of_version) in status.granted.iter_mut().enumerate() {
                *of_version |= if granted >> version & 1 == 1 { set } else { 0 };
            }
            if let Some(name) = &old.secret_name {
                status.left[usize::from(secret_number(name))] |= set;
            }
        }
        for given_up in &real.journal.abandoned {
            status.abandoned |= bit(number(&given_up.nonce));
        }
        self.assert_lossless(real, &status);
        status
    }

    /// What the model forgets of a status must not be what the plan decides by.
    fn assert_lossless(&self, mut real: ProgrammaticUserStatus, status: &Status) {
        let mut again = self.real_status(status);
        for status in [&mut real, &mut again] {
            status.conditions.clear();
            status.observed_generation = None;
            // For people, or set anew before it is used.
            status.token_last_digits = None;
            status.organization_name = None;
            if status.journal.current.is_none() {
                (status.user_id, status.secret_name) = (None, None);
            }
            // Without an age that tokens are replaced at, it decides only how long a token is waited for.
            status.token_issued_at = None;
            // An hour passes between any two attempts: the bound on their number is tested elsewhere.
            status.journal.attempt_times.clear();
            (status.journal.checksum, status.journal.full_checksum) = (None, None);
            let journal = &mut status.journal;
            if let Some(pending) = journal.pending.as_mut().filter(|p| p.reason != REVOKED) {
                pending.reason.clear();
            }
            journal.retiring.sort_by(|a, b| a.nonce.cmp(&b.nonce));
            // Nothing is decided by these where no pods are waited for.
            if let Some(current) = &mut journal.current {
                current.replaced_at = None;
            }
            let current = journal.current.iter_mut().map(|c| &mut c.granted);
            let pending = journal.pending.iter_mut().map(|p| &mut p.granted);
            let all = current
                .chain(pending)
                .chain(journal.retiring.iter_mut().map(|r| &mut r.granted));
            all.flatten()
                .for_each(|granted| granted.groups.sort_by(|a, b| a.id.cmp(&b.id)));
            for old in &mut journal.retiring {
                (old.not_after, old.replaced_at) = (None, None);
                old.not_before = if old.not_before <= self.now {
                    Timestamp::MIN
                } else {
                    Timestamp::MAX
                };
            }
            journal.abandoned.sort_by(|a, b| a.nonce.cmp(&b.nonce));
            journal.abandoned.dedup();
        }
        assert_eq!(
            real, again,
            "the model's status does not hold all of the real one"
        );
    }

    fn act(&self, step: Step, seen: &Seen) -> Act {
        match step {
            Step::Reserve(_) => Act::Reserve,
            Step::AddFinalizer => Act::AddFinalizer,
            Step::RemoveFinalizer => Act::RemoveFinalizer,
            Step::Journal(status, ticket) => Act::Journal(self.abstract_status(*status), ticket.is_some()),
            Step::Create(body) => Act::Create(number(&Marker::parse(&body.name).unwrap().nonce)),
            Step::Commit(draft) => written(&draft, seen.learned.ticket, Act::Commit),
            Step::Stage { nonce, user_id } => belongs(Act::Stage, number(&nonce), &user_id),
            Step::Publish(nonce, draft) => written(&draft, number(&nonce), Act::Publish),
            Step::Unstage(staged) => Act::Unstage(number(&staged.nonce)),
            Step::Tombstone(nonce) => Act::Bar(number(&nonce)),
            Step::Fence(fence) => Act::Fence(secret_number(&fence.name), fence.over.is_some()),
            Step::Compensate(id) => Act::Compensate(user_number(&id)),
            Step::ReadUser(id) => Act::ReadUser(user_number(&id)),
            Step::PutGroups(id, groups) => {
                let version = GROUPS.iter().position(|(id, _)| groups == [*id]).unwrap();
                Act::PutGroups(user_number(&id), u8::try_from(version).unwrap())
            }
            Step::Verify(TokenSource::Published { secret, .. }) => {
                Act::VerifyPublished(secret_number(&secret))
            }
            Step::Verify(TokenSource::Staged(nonce)) => Act::VerifyStaged(number(&nonce)),
            Step::ListUsers => Act::ListUsers,
            Step::DeleteUser(id, marker) => Act::DeleteUser(user_number(&id), number(&marker.nonce)),
            Step::DeleteSecret(own) => Act::DeleteSecret(secret_number(&own.name)),
            Step::DeleteOldSecret { name, nonce } => {
                Act::DeleteOldSecret(secret_number(&name), number(&nonce))
            }
            Step::Record(user) => Act::Record(number(&user.nonce)),
            Step::Release(own) => Act::Release(secret_number(&own.name)),
            Step::LookUp(_)
            | Step::HoldClass
            | Step::DryRun(..)
            | Step::PutPolicies(..)
            | Step::ReadPods(_)
            | Step::Restart(_) => {
                panic!("not in this model: {step:?}")
            }
        }
    }
}

fn belongs(act: impl FnOnce(Nonce) -> Act, n: Nonce, id: &str) -> Act {
    if user_id(n) == id { act(n) } else { Act::Torn }
}

fn written(draft: &SecretDraft, n: Nonce, act: impl FnOnce(Nonce, u8, bool) -> Act) -> Act {
    let says = |key: &str| draft.annotations.get(key);
    let whole = says(NONCE_ANNOTATION) == Some(&nonce(n)) && says(USER_ID_ANNOTATION) == Some(&user_id(n));
    if whole {
        act(n, secret_number(&draft.name), draft.replace.is_some())
    } else {
        Act::Torn
    }
}

fn staged(n: Nonce, user_id: Option<String>) -> Staged {
    Staged {
        name: nonce(n),
        uid: nonce(n),
        nonce: nonce(n),
        user_id,
    }
}
