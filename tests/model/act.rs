//! What the plan says, in the model's words.

use crate::world::{Nonce, Status};

/// The abstract form of `plan::Next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// The end of a reconcile; the status to leave, if it differs.
    #[default]
    Stop,
    Leave(Status),
    /// Take a permit for one create call.
    Reserve,
    AddFinalizer,
    RemoveFinalizer,
    /// The status, and whether it hands out the ticket for one create call.
    Journal(Status, bool),
    Create(Nonce),
    /// Which Secret, and whether it replaces the one that was seen.
    Commit(Nonce, u8, bool),
    Stage(Nonce),
    Publish(Nonce, u8, bool),
    Unstage(Nonce),
    Bar(Nonce),
    /// Which Secret, and whether there is one.
    Fence(u8, bool),
    Compensate(Nonce),
    ReadUser(Nonce),
    /// The user, and the version of the spec whose group it gets.
    PutGroups(Nonce, u8),
    VerifyPublished(u8),
    VerifyStaged(Nonce),
    ListUsers,
    /// The user, and the attempt that its name has to carry.
    DeleteUser(Nonce, Nonce),
    DeleteSecret(u8),
    DeleteOldSecret(u8, Nonce),
    /// That this user stays is recorded.
    Record(Nonce),
    Release(u8),
    /// Token, user and attempt of one write do not belong together.
    Torn,
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    /// Refused or failed, with an answer: it has no effect.
    Failed,
    /// No answer came, and it has no effect.
    Vanished,
    /// No answer came, and it had its effect.
    Lost,
    /// No answer came, and it has its effect later.
    Late,
    /// The platform does not accept the token yet.
    Rejected,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process begins a reconcile: it reads the object.
    Start(usize),
    /// It takes its next step.
    Take(usize, Outcome),
    /// It dies and starts anew, knowing nothing.
    Crash(usize),
    /// Its permit ends before the call: it was kept too long, or the process is not the leader any more.
    PermitEnds(usize),
    /// A create call takes effect that nobody waits for.
    Land(Nonce),
    /// A staged token, or what bars one, goes that nobody needs.
    SweepStaged(Nonce),
    /// The overlap of all replaced users ends.
    OverlapEnds,
    /// The pending attempt's token has been waited for long enough.
    PatienceEnds,
    /// People.
    Delete,
    Rotate,
    Revoke,
    Edit,
    DeleteSecret(u8),
    EditSecret(u8),
    /// The Secret as it was, from a backup.
    RestoreSecret(u8, Nonce),
    /// Its annotation names another user.
    ForgeSecret(u8),
    /// A Secret of that name by somebody else.
    Squat(u8),
    DeleteUser(Nonce),
    RemoveFinalizer,
}
