//! Answers to steps, as the plan gets them.

use std::collections::BTreeMap;

use programmatic_users::api::Reason;
use programmatic_users::plan::{Answer, Answers, Committed, Created, Deletion, Problem, Retry, TokenSource};
use programmatic_users::platform::client::Purpose;
use programmatic_users::platform::{UserDetails, UserName, UserType};
use serde_json::json;

use crate::names::{GROUPS, nonce, secret_name, user_id, username};
use crate::world::{ALIEN, Kept, Known, Nonce, Read, Seen, Set, has, items};

fn problem() -> Problem {
    Problem {
        reason: Reason::PlatformError,
        message: "it broke".to_owned(),
        retry: Retry::Backoff,
    }
}

fn done(known: Known) -> Option<Answer<()>> {
    match known {
        Known::Not => None,
        Known::Yes => Some(Ok(())),
        Known::No | Known::Unknown => Some(Err(problem())),
    }
}

fn committed(known: Known) -> Option<Committed> {
    match known {
        Known::Not => None,
        Known::Yes => Some(Committed::Yes),
        Known::No => Some(Committed::No(problem())),
        Known::Unknown => Some(Committed::Unknown(problem())),
    }
}

/// The one answer of this kind that is remembered, by what was asked.
fn keyed<K: Ord, T>(key: K, answer: Option<T>) -> BTreeMap<K, T> {
    answer.map(|answer| (key, answer)).into_iter().collect()
}

fn token_source(kept: Kept) -> TokenSource {
    match kept {
        Kept::Nowhere => TokenSource::Staged(String::new()),
        Kept::Published(at) => TokenSource::Published {
            secret: secret_name(at),
            key: "SPOTINST_TOKEN".to_owned(),
        },
        Kept::Staged(n) => TokenSource::Staged(nonce(n)),
    }
}

pub fn learned(seen: &Seen) -> Answers {
    let l = &seen.learned;
    let sets = |good: Set, bad: Set| items(good | bad).map(move |n| (n, has(good, n)));
    let mut deleted: BTreeMap<String, Answer<Deletion>> = sets(l.deleted, l.delete_failed)
        .map(|(n, gone)| (user_id(n), if gone { Ok(Deletion::Gone) } else { Err(problem()) }))
        .collect();
    match l.alien {
        Known::Not => {}
        Known::Yes => drop(deleted.insert(user_id(ALIEN), Ok(Deletion::Gone))),
        Known::No => drop(deleted.insert(user_id(ALIEN), Err(problem()))),
        Known::Unknown => drop(deleted.insert(user_id(ALIEN), Ok(Deletion::NotOurs))),
    }
    let ended = |gone| if gone { Ok(()) } else { Err(problem()) };
    let secrets = l.secrets.into_iter().zip([0, 1]);
    let old_secrets = [0, 1].into_iter().flat_map(|at| {
        let (good, bad) = (
            l.old_secrets[usize::from(at)],
            l.old_secrets_failed[usize::from(at)],
        );
        sets(good, bad).map(move |(n, gone)| ((secret_name(at), nonce(n)), gone))
    });
    Answers {
        catalog: None,
        dry_run: None,
        reserved: done(l.reserved).map(|answer| (Purpose::First, answer)),
        begun_attempt: (l.ticket > 0).then(|| nonce(l.ticket)),
        created: match l.created {
            Known::Not => None,
            Known::Yes => Some(Created::Yes {
                user_id: user_id(l.ticket),
                last_digits: "1234".to_owned(),
            }),
            Known::No => Some(Created::No(problem())),
            Known::Unknown => Some(Created::Unknown(problem())),
        },
        committed: committed(l.committed),
        staged: committed(l.staged),
        published: committed(l.published),
        unstaged: sets(l.unstaged, l.unstage_failed)
            .map(|(n, gone)| (nonce(n), ended(gone)))
            .collect(),
        tombstoned: done(l.barred),
        fenced: done(l.fenced),
        compensated: done(l.compensated),
        details: keyed(
            user_id(l.read_of),
            match l.read {
                Read::Not => None,
                Read::Gone => Some(Ok(None)),
                Read::User(n, mapped) => Some(Ok(Some(details(&user_id(n), &username(n), mapped)))),
                Read::Alien => Some(Ok(Some(details(&user_id(ALIEN), "somebody", 0)))),
                Read::Failed => Some(Err(problem())),
            },
        ),
        policies_put: BTreeMap::new(),
        groups_put: keyed(user_id(l.groups_of), done(l.groups)),
        verified: keyed(
            token_source(l.verified_of),
            match l.verified {
                Known::Not => None,
                Known::Yes => Some(Ok(true)),
                Known::No => Some(Ok(false)),
                Known::Unknown => Some(Err(problem())),
            },
        ),
        listed: match l.listed {
            Known::Not => None,
            Known::Yes => Some(Ok(items(l.list).map(summary).collect())),
            Known::No | Known::Unknown => Some(Err(problem())),
        },
        shared_digest: false,
        deleted,
        secrets_deleted: secrets
            .filter_map(|(k, at)| Some((secret_name(at), done(k)?)))
            .collect(),
        old_secrets_deleted: old_secrets.map(|(key, gone)| (key, ended(gone))).collect(),
        recorded: done(l.recorded),
        released: done(l.released),
        changed: None,
        pods: None,
        restarted: BTreeMap::new(),
        finalizer_removed: l.unlocked,
    }
}

fn details(user_id: &str, username: &str, mapped: u8) -> UserDetails {
    let groups = GROUPS
        .iter()
        .enumerate()
        .filter(|(version, _)| mapped >> version & 1 == 1);
    let groups: Vec<_> = groups
        .map(|(_, (id, name))| json!({"id": id, "name": name}))
        .collect();
    serde_json::from_value(json!({
        "userId": user_id, "username": username, "type": "programmatic", "groups": groups,
    }))
    .unwrap()
}

fn summary(n: Nonce) -> UserName {
    UserName {
        user_id: user_id(n).into(),
        username: username(n).into(),
        user_type: UserType::Programmatic,
    }
}
