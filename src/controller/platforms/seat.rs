//! What is kept of one organization for as long as this process leads, whatever becomes of its credential.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex as AsyncMutex;

use super::Platform;
use crate::api::Journal;
use crate::plan::Marker;
use crate::platform::client::Gate;
use crate::platform::{UserSummary, UserType};

/// One organization's place.
pub(in crate::controller) struct Seat {
    /// Of the organization: one that is made anew under an old name is another one.
    pub(super) uid: Option<String>,
    pub(in crate::controller) gate: Arc<Gate>,
    pub(super) platform: AsyncMutex<Option<Arc<Platform>>>,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// Users that no object knows, and when the first list that showed them so had ended.
    orphans: Mutex<BTreeMap<String, Instant>>,
    /// The last UID whose turn of a full check it was.
    checked: Mutex<String>,
}

/// All users of an organization, as one list call told.
pub(in crate::controller) struct Snapshot {
    /// When the call was begun: what happened before is in it.
    pub(in crate::controller) begun: Instant,
    /// When the answer was there: what happened later is not in it.
    pub(in crate::controller) ended: Instant,
    /// By id.
    pub(in crate::controller) users: BTreeMap<String, UserSummary>,
    /// Programmatic users with a marker of this installation: ids by the digest of the object's UID.
    pub(in crate::controller) ours: BTreeMap<String, Vec<(String, Marker)>>,
}

impl Snapshot {
    /// Sorts a list.
    pub(in crate::controller) fn new(begun: Instant, users: Vec<UserSummary>, instance: &str) -> Self {
        let mut ours = BTreeMap::<_, Vec<_>>::new();
        for user in users.iter().filter(|u| u.user_type == UserType::Programmatic) {
            if let Some(marker) = Marker::parse(&user.username).filter(|m| m.instance == instance) {
                let place = ours.entry(marker.uid8.clone()).or_default();
                place.push((user.user_id.clone(), marker));
            }
        }
        Self {
            begun,
            ended: Instant::now(),
            users: users.into_iter().map(|u| (u.user_id.clone(), u)).collect(),
            ours,
        }
    }

    /// Users of the object with this UID whose attempts are in none of `journals`, without those that are known to
    /// be `deleted`.
    pub(in crate::controller) fn strays(
        &self,
        instance: &str,
        uid: &str,
        journals: &[&Journal],
        deleted: &[String],
    ) -> Vec<UserSummary> {
        let uid8 = Marker::new(instance, uid, "").uid8;
        let theirs = self.ours.get(&uid8).map(Vec::as_slice).unwrap_or_default();
        theirs
            .iter()
            .filter(|(id, marker)| !deleted.contains(id) && !journals.iter().any(|j| names(j, &marker.nonce)))
            .filter_map(|(id, _)| self.users.get(id).cloned())
            .collect()
    }
}

/// Whether a journal names this attempt.
fn names(journal: &Journal, nonce: &str) -> bool {
    journal.pending.as_ref().is_some_and(|p| p.nonce == nonce)
        || journal.current.as_ref().is_some_and(|c| c.nonce == nonce)
        || journal.retiring.iter().any(|r| r.nonce == nonce)
        || journal.abandoned.iter().any(|a| a.nonce == nonce)
}

impl Seat {
    pub(super) fn new(uid: Option<String>, gate: Gate) -> Self {
        Self {
            uid,
            gate: Arc::new(gate),
            platform: AsyncMutex::default(),
            snapshot: Mutex::default(),
            orphans: Mutex::default(),
            checked: Mutex::default(),
        }
    }

    /// The last list of users.
    pub(in crate::controller) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        lock(&self.snapshot).clone()
    }

    pub(in crate::controller) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        *lock(&self.snapshot) = Some(snapshot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
