//! What must hold whatever went wrong: the protocol's invariants, read from the ledger and from the history.

use std::collections::BTreeSet;

use super::history::{History, SecretVersion, UserVersion};
use crate::support::proxy::{Asked, Deleted, Posted};

/// Everything that is wrong; empty is good.
pub fn violations(history: &History, secret: &str, ledger: &[Asked]) -> Vec<String> {
    let (users, secrets) = (history.users(), history.secrets(secret));
    let posts: Vec<&Posted> = ledger
        .iter()
        .filter_map(|a| match a {
            Asked::Post(posted) => Some(posted),
            _ => None,
        })
        .collect();
    let deletes: Vec<&Deleted> = ledger
        .iter()
        .filter_map(|a| match a {
            Asked::Delete(deleted) => Some(deleted),
            _ => None,
        })
        .collect();
    let mut found = Vec::new();
    found.extend(intent_before_effect(&users, &posts));
    found.extend(no_nonce_twice(&posts));
    found.extend(current_is_never_deleted(&users, &deletes));
    found.extend(current_was_carried(&users, &secrets));
    found.extend(bounded(&users));
    found.extend(changed_together(&secrets, &posts));
    found.extend(never_back(&users, &secrets));
    found
}

fn intent_before_effect(users: &[UserVersion], posts: &[&Posted]) -> Vec<String> {
    let mut found = Vec::new();
    for post in posts {
        let Some(marker) = &post.marker else {
            found.push(format!(
                "S1: a user was asked for without a marker: {}",
                post.name
            ));
            continue;
        };
        let intended = users.iter().any(|u| {
            u.revision <= post.revision
                && u.journal
                    .pending
                    .as_ref()
                    .is_some_and(|p| p.nonce == marker.nonce)
        });
        if !intended {
            found.push(format!(
                "S1: {} was asked for at revision {}, and no earlier status names it as pending",
                marker.nonce, post.revision
            ));
        }
    }
    found
}

fn no_nonce_twice(posts: &[&Posted]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let markers = posts.iter().filter_map(|p| p.marker.as_ref());
    markers
        .filter(|m| !seen.insert(m.nonce.clone()))
        .map(|m| format!("S2: {} was asked for twice", m.nonce))
        .collect()
}

fn current_is_never_deleted(users: &[UserVersion], deletes: &[&Deleted]) -> Vec<String> {
    let mut found = Vec::new();
    for delete in deletes.iter().filter(|d| d.forwarded) {
        let then = users.iter().rev().find(|u| u.revision <= delete.revision);
        let Some(user) = then.filter(|u| !u.deleting && !u.gone) else {
            continue;
        };
        if user
            .journal
            .current
            .as_ref()
            .is_some_and(|c| c.user_id == delete.user_id)
        {
            found.push(format!(
                "S3: {} was deleted at revision {} while the status named it as current",
                delete.user_id, delete.revision
            ));
        }
    }
    found
}

fn current_was_carried(users: &[UserVersion], secrets: &[SecretVersion]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for user in users {
        let Some(current) = &user.journal.current else {
            continue;
        };
        let carried = secrets
            .iter()
            .any(|s| s.revision < user.revision && s.nonce.as_ref() == Some(&current.nonce));
        if !carried {
            found.insert(format!(
                "S4: {} is current, and no earlier version of the Secret carries it",
                current.nonce
            ));
        }
    }
    found.into_iter().collect()
}

fn bounded(users: &[UserVersion]) -> Vec<String> {
    let most = users
        .iter()
        .map(|u| u.journal.retiring.len() + u.journal.abandoned.len())
        .max()
        .unwrap_or_default();
    if most > 4 {
        return vec![format!(
            "S8: {most} attempts are retiring or abandoned at one time"
        )];
    }
    vec![]
}

fn changed_together(secrets: &[SecretVersion], posts: &[&Posted]) -> Vec<String> {
    let mut found = Vec::new();
    let carrying = secrets.iter().filter(|s| s.nonce.is_some() && !s.gone);
    for secret in carrying {
        let made = posts.iter().find(|p| {
            p.marker
                .as_ref()
                .is_some_and(|m| Some(&m.nonce) == secret.nonce.as_ref())
        });
        let made = made.and_then(|p| p.made.as_ref());
        let same = made.is_some_and(|(id, token)| {
            Some(id) == secret.user_id.as_ref() && Some(token) == secret.token.as_ref()
        });
        if !same {
            found.push(format!(
                "S9: version {} of the Secret has {:?} with user {:?} and a token of digest {:?}; the platform made {made:?}",
                secret.revision, secret.nonce, secret.user_id, secret.token
            ));
        }
    }
    let bare = secrets
        .iter()
        .filter(|s| s.nonce.is_none() && s.owner.is_some() && s.token.is_some());
    found.extend(bare.map(|s| {
        format!(
            "S9: version {} of the Secret has a token without its attempt",
            s.revision
        )
    }));
    found
}

/// Once an attempt was promoted, no other comes into the Secret that is older.
fn never_back(users: &[UserVersion], secrets: &[SecretVersion]) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = BTreeSet::new();
    let mut last: Option<&String> = None;
    for secret in secrets.iter().filter(|s| !s.gone) {
        let Some(nonce) = &secret.nonce else { continue };
        if last == Some(nonce) {
            continue;
        }
        if left.contains(nonce) {
            found.push(format!(
                "S13: version {} of the Secret carries {nonce} again",
                secret.revision
            ));
        }
        let promoted = last.filter(|l| {
            users
                .iter()
                .any(|u| u.journal.current.as_ref().is_some_and(|c| c.nonce == **l))
        });
        left.extend(promoted.cloned());
        last = Some(nonce);
    }
    found
}
