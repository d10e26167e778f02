//! What a list of users says about the objects, and what it does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::api::{Abandoned, Current, Journal};
use crate::controller::organizations::connections::UserListing;
use crate::controller::organizations::drift::{Findings, Views, compare, next_in_turn};
use crate::controller::watch::cached_user::{JournalIndex, JournalNonces};
use crate::plan::Marker;
use crate::platform::{UserName, UserType};

const INSTANCE: &str = "abcdef";
const NONCE: &str = "aaaabbbbccccdddd";
const OTHER: &str = "eeeeffffgggghhhh";

fn user(id: &str, name: &str) -> UserName {
    UserName {
        user_id: id.into(),
        username: name.into(),
        user_type: UserType::Programmatic,
    }
}

fn of(uid: &str, nonce: &str) -> String {
    Marker::new(INSTANCE, uid, nonce).name("ci")
}

fn journal(nonce: &str, id: &str) -> Journal {
    Journal {
        current: Some(Current {
            nonce: nonce.to_owned(),
            user_id: id.to_owned(),
            fingerprint: String::new(),
            access: None,
            granted: None,
            replaced_at: None,
        }),
        ..Journal::default()
    }
}

fn views(entries: &[(&str, &str, Option<Journal>)]) -> Views {
    let view = |organization: &str, journal: &Option<Journal>| {
        Arc::new(JournalIndex {
            organization: Some(organization.into()),
            journal: journal.as_ref().map(JournalNonces::from),
        })
    };
    entries
        .iter()
        .map(|(uid, org, journal)| ((*uid).to_owned(), view(org, journal)))
        .collect()
}

fn found(users: Vec<UserName>, before: &Views, after: &Views) -> Findings {
    let snapshot = UserListing::new(Instant::now(), users, INSTANCE);
    compare(
        "acme",
        INSTANCE,
        &snapshot,
        before,
        after,
        &["pu-deleted".to_owned()],
    )
}

#[test]
fn each_of_many_is_found_by_the_digest_of_its_uid_whichever_look_has_it() {
    let uids = ["a", "b", "c", "d", "e", "f"];
    let digests = uids.map(|uid| Marker::new(INSTANCE, uid, "").object);
    assert!(!digests.is_sorted(), "digests are in another order than UIDs");
    let ids = uids.map(|uid| format!("pu-{uid}"));
    let of_all = |nonces: &dyn Fn(&str) -> &'static str| {
        let entries: Vec<_> = uids
            .iter()
            .zip(&ids)
            .map(|(uid, id)| (*uid, "acme", Some(journal(nonces(uid), id))))
            .collect();
        views(&entries)
    };
    let before = of_all(&|_| NONCE);
    // Most are the same, one has begun anew, one is gone, and one that was gone before is there.
    let mut after = before.clone();
    after.extend(of_all(&|_| OTHER).remove_entry("b"));
    after.remove("c");
    let mut before = before;
    before.remove("e");
    let users = || uids.iter().zip(&ids).map(|(uid, id)| user(id, &of(uid, NONCE)));
    let all = found(users().collect(), &before, &after);
    assert_eq!((all.counts.managed, all.counts.orphaned), (6, 0));
    assert!(all.orphans.is_empty() && all.suspects.is_empty(), "{all:?}");
    let stranger = user("pu-x", &of("x", NONCE));
    let all = found(users().chain([stranger]).collect(), &before, &after);
    assert_eq!(all.orphans.into_keys().collect::<Vec<_>>(), ["pu-x"]);
}

#[test]
fn a_user_as_it_should_be_is_no_news() {
    let objects = views(&[("uid", "acme", Some(journal(NONCE, "pu-1")))]);
    let mut person = user("u-1", "a person");
    person.user_type = UserType::Personal;
    let users = vec![user("pu-1", &of("uid", NONCE)), user("pu-2", "by-hand"), person];
    let found = found(users, &objects, &objects);
    assert!(found.suspects.is_empty() && found.orphans.is_empty() && found.strangers.is_empty());
    assert_eq!((found.counts.managed, found.counts.unmanaged), (1, 1));
    assert_eq!((found.counts.orphaned, found.counts.retiring), (0, 0));
}

#[test]
fn a_user_that_is_gone_renamed_or_of_another_kind_is_looked_at() {
    let objects = views(&[("uid", "acme", Some(journal(NONCE, "pu-1")))]);
    let mut person = user("pu-1", &of("uid", NONCE));
    person.user_type = UserType::Personal;
    for users in [vec![], vec![user("pu-1", "renamed")], vec![person]] {
        let found = found(users, &objects, &objects);
        assert_eq!(found.suspects, BTreeSet::from(["uid".to_owned()]));
    }
}

#[test]
fn a_user_that_was_made_during_the_list_is_not_missed() {
    let before = views(&[("uid", "acme", Some(Journal::default()))]);
    let after = views(&[("uid", "acme", Some(journal(NONCE, "pu-1")))]);
    assert_eq!(found(vec![], &before, &after), Findings::default());
    // Nor is one whose object came and went meanwhile an orphan.
    let users = vec![user("pu-1", &of("uid", NONCE))];
    for (before, after) in [(&after, &Views::new()), (&Views::new(), &after)] {
        let found = found(users.clone(), before, after);
        assert!(found.orphans.is_empty() && found.suspects.is_empty(), "{found:?}");
    }
}

#[test]
fn a_user_whose_object_is_gone_is_an_orphan_unless_it_was_just_deleted() {
    let users = vec![
        user("pu-1", &of("gone", NONCE)),
        user("pu-deleted", &of("gone", OTHER)),
        user(
            "pu-3",
            &Marker::new("zzzzzz", "gone", NONCE).name("of another installation"),
        ),
    ];
    let found = found(users, &Views::new(), &Views::new());
    assert_eq!(found.orphans.keys().collect::<Vec<_>>(), ["pu-1"]);
    assert_eq!((found.counts.orphaned, found.counts.unmanaged), (1, 1));
}

#[test]
fn an_attempt_that_its_object_does_not_know_has_the_object_looked_at() {
    let objects = views(&[("uid", "acme", Some(journal(NONCE, "pu-1")))]);
    let users = vec![user("pu-1", &of("uid", NONCE)), user("pu-2", &of("uid", OTHER))];
    let stray = found(users.clone(), &objects, &objects);
    assert_eq!((stray.suspects.len(), stray.counts.orphaned), (1, 1));
    assert!(stray.orphans.is_empty(), "its object exists");
    // One that was given up is known.
    let mut known = journal(NONCE, "pu-1");
    known.abandoned.push(Abandoned {
        nonce: OTHER.to_owned(),
    });
    let objects = views(&[("uid", "acme", Some(known))]);
    assert_eq!(found(users, &objects, &objects).suspects.len(), 0);
}

#[test]
fn an_object_that_cannot_be_read_knows_everything() {
    let objects = views(&[("uid", "acme", None)]);
    let users = vec![user("pu-1", &of("uid", NONCE))];
    let found = found(users, &objects, &objects);
    assert!(found.orphans.is_empty() && found.suspects.is_empty() && found.counts.orphaned == 0);
}

#[test]
fn a_user_of_an_object_in_another_organization_is_reported_and_no_orphan() {
    let objects = views(&[("uid", "other", Some(journal(NONCE, "pu-9")))]);
    let users = vec![user("pu-1", &of("uid", OTHER))];
    let found = found(users, &objects, &objects);
    assert!(found.orphans.is_empty() && found.suspects.is_empty());
    assert_eq!(found.strangers.len(), 1);
}

/// Users that an earlier version made: their markers have fewer digits of the UID.
#[test]
fn a_short_marker_is_of_the_object_whose_digest_begins_with_it() {
    let short = |uid: &str, nonce: &str| Marker::new(INSTANCE, uid, nonce).short().name("ci");
    let objects = views(&[
        ("uid", "acme", Some(journal(NONCE, "pu-1"))),
        ("uid2", "acme", Some(journal(OTHER, "pu-2"))),
    ]);
    let users = vec![
        user("pu-1", &short("uid", NONCE)),
        user("pu-2", &of("uid2", OTHER)),
    ];
    let all = found(users, &objects, &objects);
    assert!(all.orphans.is_empty() && all.suspects.is_empty(), "{all:?}");
    assert_eq!((all.counts.managed, all.counts.orphaned), (2, 0));
    let users = vec![
        user("pu-1", &of("uid", NONCE)),
        user("pu-2", &of("uid2", OTHER)),
        user("pu-3", &short("gone", NONCE)),
        user("pu-4", &short("uid", OTHER)),
    ];
    let all = found(users, &objects, &objects);
    assert_eq!(all.orphans.keys().collect::<Vec<_>>(), ["pu-3"]);
    assert_eq!((all.suspects.len(), all.counts.orphaned), (1, 2));
}

#[test]
fn everybody_has_a_turn() {
    let all: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    assert_eq!(next_in_turn(&all, "", 2), ["a", "b"]);
    assert_eq!(next_in_turn(&all, "b", 2), ["c", "a"]);
    assert_eq!(next_in_turn(&all, "z", 5), ["a", "b", "c"]);
    assert!(next_in_turn(&BTreeSet::new(), "a", 5).is_empty());
}
