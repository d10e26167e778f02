//! Compares a list of the platform's users with the objects in the cache. Pure.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::UserCounts;
use crate::controller::organizations::connections::UserListing;
use crate::controller::watch::cached_user::JournalIndex;
use crate::plan::Marker;

/// All objects by UID.
pub(in crate::controller) type Views = BTreeMap<String, Arc<JournalIndex>>;

/// What a comparison found.
#[derive(Debug, Default, PartialEq)]
pub(in crate::controller) struct Findings {
    pub(in crate::controller) counts: UserCounts,
    /// Objects, by UID, whose user is not as it should be, or that have users which their journals do not know.
    pub(in crate::controller) suspects: BTreeSet<String>,
    /// Users whose object is gone, by id.
    pub(in crate::controller) orphans: BTreeMap<String, Marker>,
    /// Users whose object lives in another organization; it cannot know them.
    pub(in crate::controller) strangers: BTreeSet<String>,
}

/// Compares. The cache was read before the list call and after it: a user that one of the
/// two looks explains is no news. `deleted` are users that the list may show although they are gone.
pub(in crate::controller) fn compare(
    name: &str,
    instance: &str,
    snapshot: &UserListing,
    before: &Views,
    after: &Views,
    deleted: &[String],
) -> Findings {
    let mut found = Findings::default();
    let deleted: BTreeSet<&str> = deleted.iter().map(String::as_str).collect();
    let here = |view: &JournalIndex| view.organization.as_deref() == Some(name);
    for (uid, view) in after.iter().filter(|(_, v)| here(v)) {
        let Some(journal) = &view.journal else { continue };
        found.counts.retiring += count(journal.retiring);
        let unchanged = before.get(uid).and_then(|b| b.journal.as_ref()?.current.as_ref());
        let Some(current) = journal.current.as_ref().filter(|c| unchanged == Some(c)) else {
            continue;
        };
        let marker = Marker::new(instance, uid, &current.nonce);
        let as_it_should = snapshot
            .name_of(&current.user_id)
            .and_then(Marker::parse)
            .is_some_and(|found| found.is_of(&marker));
        if !as_it_should {
            found.suspects.insert(uid.clone());
        }
    }

    let of_here = by_digest(instance, before, after, here);
    // With many organizations the digests of all objects take long. Nearly always an object that lives here explains the user.
    let of_all = LazyCell::new(|| by_digest(instance, before, after, |_| true));
    for (id, marker) in snapshot.ours() {
        found.counts.managed += 1;
        if deleted.contains(id) || is_explained(marked(&of_here, &marker), &marker) {
            continue;
        }
        let theirs = marked(&of_all, &marker);
        if theirs.is_empty() {
            found.orphans.insert(id.to_owned(), marker);
            continue;
        }
        if is_explained(theirs, &marker) {
            continue;
        }
        match theirs.iter().find(|(_, _, v)| here(v)) {
            Some((_, uid, _)) => {
                found.suspects.insert((*uid).clone());
                found.counts.orphaned += 1;
            }
            None => {
                found.strangers.insert(id.to_owned());
            }
        }
    }
    found.counts.unmanaged = count(snapshot.count()) - found.counts.managed;
    found.counts.orphaned += count(found.orphans.len() + found.strangers.len());
    found
}

/// The digest of an object's UID, the UID, and what was seen of it.
type Seen<'a> = (String, &'a String, &'a JournalIndex);

/// The objects that a marker, which may be a short one, may be of.
fn marked<'a, 'b>(objects: &'b [Seen<'a>], marker: &Marker) -> &'b [Seen<'a>] {
    let from = objects.partition_point(|(digest, ..)| *digest < marker.object);
    let same = objects[from..].partition_point(|(digest, ..)| digest.starts_with(&marker.object));
    &objects[from..from + same]
}

/// Whether the journal of one of these has the attempt, or cannot be read.
fn is_explained(objects: &[Seen<'_>], marker: &Marker) -> bool {
    let explains = |v: &JournalIndex| v.journal.as_ref().is_none_or(|j| j.has(&marker.nonce));
    objects.iter().any(|(_, _, v)| explains(v))
}

/// What was seen of each object by either look, in the order of the digests of their UIDs. Most have not changed between the
/// two, and are there once: there may be many.
fn by_digest<'a>(
    instance: &str,
    before: &'a Views,
    after: &'a Views,
    wanted: impl Fn(&JournalIndex) -> bool,
) -> Vec<Seen<'a>> {
    let same = |uid: &String, view| after.get(uid).is_some_and(|later| Arc::ptr_eq(later, view));
    let changed = before.iter().filter(|(uid, view)| !same(uid, view));
    let seen = || changed.clone().chain(after).filter(|(_, view)| wanted(view));
    // Growing would take twice the memory that is used.
    let mut all = Vec::with_capacity(seen().count());
    let digest = |(uid, view): (&'a String, &'a Arc<JournalIndex>)| {
        (Marker::new(instance, uid, "").object, uid, &**view)
    };
    all.extend(seen().map(digest));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The next `most` of `all` after `last`, from the beginning again at the end.
pub(in crate::controller) fn next_in_turn(all: &BTreeSet<String>, last: &str, most: usize) -> Vec<String> {
    let later = all.iter().filter(|uid| uid.as_str() > last);
    let earlier = all.iter().filter(|uid| uid.as_str() <= last);
    later.chain(earlier).take(most).cloned().collect()
}

#[cfg(test)]
mod tests;
