//! What went through: a trace of all requests, and the ledger of what the platform was asked for.

use std::fmt::Write as _;
use std::time::Duration;

use programmatic_users::plan::Marker;

use super::seen::Seen;

/// One request of the trace.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Since the proxy was started.
    pub at: Duration,
    pub seen: Seen,
    /// What became of it.
    pub outcome: String,
}

impl Entry {
    /// One line.
    #[must_use]
    pub fn describe(&self, who: &str) -> String {
        let (s, ms) = (self.at.as_secs(), self.at.subsec_millis());
        let mut text = format!("{s:>4}.{ms:03} {who:<10} {}", self.seen.describe());
        if self.seen.is_write() {
            // Writing into a String cannot fail.
            let _ = write!(text, " #{}", self.seen.digest);
        }
        format!("{text} -> {}", self.outcome)
    }
}

/// What the platform was asked to do.
#[derive(Debug, Clone)]
pub enum Asked {
    /// To make a user.
    Post(Posted),
    /// To delete one.
    Delete(Deleted),
    /// To replace policies or groups of one.
    Put { user_id: String, route: String },
}

/// A create call.
#[derive(Debug, Clone)]
pub struct Posted {
    pub name: String,
    /// `None`: the name is not one that an operator gives.
    pub marker: Option<Marker>,
    /// The cluster's revision when the call arrived: what was written up to there was written before.
    pub revision: u64,
    /// Whether the platform got it.
    pub forwarded: bool,
    /// The new user's id and the digest of its token.
    pub made: Option<(String, String)>,
}

/// A delete call.
#[derive(Debug, Clone)]
pub struct Deleted {
    pub user_id: String,
    /// The cluster's revision just before the platform got it.
    pub revision: u64,
    pub forwarded: bool,
}
