//! What is being done when the fault strikes.

use super::point::Point;
use crate::support::proxy::Act;

/// A course of events, with the write points that it comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// A user with a role.
    Create,
    /// A user with policies and groups.
    Mapped,
    /// Other policies and groups for a user that is Ready.
    Regrant,
    /// Another user in place of one that is Ready.
    Rotate,
    /// The same, and the Deployment that reads its Secret is restarted.
    Restart,
    /// The end of a user that is Ready.
    Delete,
    /// The end of an object whose user is to stay.
    Retain,
    /// The controller was killed with the token in hand: the second fault strikes the recovery.
    Lost,
    /// The controller was killed just after the Secret was written.
    Committed,
    /// The answer to the create call was lost.
    Unanswered,
    /// The API server refused the Secret.
    Refused,
    /// The controller was killed with the token in hand, and the object deleted before it came back.
    Interrupted,
    /// The controller was killed just after the Secret was written, and the object deleted before it came back.
    Withdrawn,
    /// The controller was killed just after it deleted the platform's user.
    HalfDeleted,
    /// The controller was killed with the new token of a rotation in hand.
    RotateLost,
    /// The controller was killed just after the new token was staged.
    RotateStaged,
    /// The controller was killed just after the new token was published.
    RotatePublished,
    /// A person creates a Secret of that name while the token is on its way into it.
    Taken,
}

/// How it has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// One user, its token in the Secret, Ready.
    Ready,
    /// The same, and the object tells of a user that came after its attempt was forgotten.
    Reported,
    /// Nothing left.
    Gone,
    /// No object; one user, recorded once, and its token in a Secret without an owner.
    Kept,
    /// Nothing made, the foreign Secret as it was, and the object says so.
    Conflict,
}

use Flow as F;
use Point as P;

/// The way back after a lost attempt.
const RECOVERY: &[P] = &[
    P::Bar,
    P::Fence,
    P::Abandon,
    P::List,
    P::Guard,
    P::DeleteUser,
    P::Forget,
    P::Post,
    P::Secret,
    P::Promote,
];

impl Flow {
    pub const ALL: [Self; 18] = [
        F::Create,
        F::Mapped,
        F::Regrant,
        F::Rotate,
        F::Restart,
        F::Delete,
        F::Retain,
        F::Lost,
        F::Committed,
        F::Unanswered,
        F::Refused,
        F::Interrupted,
        F::Withdrawn,
        F::HalfDeleted,
        F::RotateLost,
        F::RotateStaged,
        F::RotatePublished,
        F::Taken,
    ];

    pub fn name(self) -> &'static str {
        match self {
            F::Create => "create",
            F::Mapped => "create-mapped",
            F::Regrant => "regrant",
            F::Rotate => "rotate",
            F::Restart => "rotate-restart",
            F::Delete => "delete",
            F::Retain => "retain",
            F::Lost => "recover-lost-token",
            F::Committed => "recover-committed",
            F::Unanswered => "recover-unanswered",
            F::Refused => "recover-refused-secret",
            F::Interrupted => "delete-lost-token",
            F::Withdrawn => "delete-committed",
            F::HalfDeleted => "delete-half-deleted",
            F::RotateLost => "rotate-lost-token",
            F::RotateStaged => "rotate-staged",
            F::RotatePublished => "rotate-published",
            F::Taken => "secret-taken",
        }
    }

    /// The write points where a fault may strike, in their order.
    pub fn points(self) -> &'static [P] {
        match self {
            F::Create => &[
                P::Lease,
                P::Finalizer,
                P::DryRun,
                P::Intent,
                P::Post,
                P::Secret,
                P::Promote,
            ],
            F::Mapped => &[
                P::Intent,
                P::Post,
                P::Stage,
                P::Groups,
                P::Secret,
                P::Unstage,
                P::Promote,
            ],
            F::Rotate => &[
                P::Intent,
                P::Post,
                P::Stage,
                P::Secret,
                P::Unstage,
                P::Promote,
                P::Guard,
                P::DeleteUser,
                P::Retired,
            ],
            F::Restart => &[P::Restart],
            F::RotateLost => &[
                P::Bar,
                P::Fence,
                P::Abandon,
                P::DeleteUser,
                P::Forget,
                P::Stage,
                P::Secret,
                P::Promote,
            ],
            F::RotateStaged => &[P::Guard, P::Secret, P::Unstage, P::Promote],
            F::RotatePublished => &[P::Unstage, P::Promote],
            F::Regrant => &[P::Grant, P::Policies, P::Groups, P::Access],
            F::Delete => &[P::Guard, P::DeleteUser, P::DeleteSecret, P::Unfinalize],
            F::Retain => &[P::Record, P::Release, P::Unfinalize],
            F::HalfDeleted => &[P::Guard, P::DeleteSecret, P::Unfinalize],
            F::Lost => RECOVERY,
            F::Committed => &[P::Promote, P::Access],
            F::Unanswered => &[P::Abandon, P::List, P::Guard, P::DeleteUser, P::Forget],
            F::Refused => &[P::DeleteUser, P::Drop, P::Event],
            F::Interrupted => &[P::Abandon, P::List, P::Guard, P::DeleteUser, P::Unfinalize],
            F::Withdrawn => &[
                P::Abandon,
                P::List,
                P::Guard,
                P::DeleteUser,
                P::DeleteSecret,
                P::Unfinalize,
            ],
            F::Taken => &[P::DeleteUser, P::Drop],
        }
    }

    /// The first fault, of the flows that begin with one.
    pub fn base(self) -> Option<(P, Act)> {
        match self {
            F::Create | F::Mapped | F::Regrant | F::Rotate | F::Restart | F::Delete | F::Retain => None,
            F::Lost | F::Interrupted | F::RotateLost => Some((P::Post, Act::KillAfter)),
            F::RotateStaged => Some((P::Stage, Act::KillAfter)),
            F::Committed | F::Withdrawn | F::RotatePublished => Some((P::Secret, Act::KillAfter)),
            F::Unanswered => Some((P::Post, Act::DropAnswer)),
            F::Refused => Some((P::Secret, Act::Refuse(403))),
            F::HalfDeleted => Some((P::DeleteUser, Act::KillAfter)),
            F::Taken => Some((P::Secret, Act::Hold)),
        }
    }

    /// Whether the object is there, and Ready, before anything goes wrong.
    pub fn begins_ready(self) -> bool {
        matches!(self, F::Regrant | F::Delete | F::Retain | F::HalfDeleted) || self.rotates()
    }

    /// Whether another user takes the place of the first.
    pub fn rotates(self) -> bool {
        matches!(
            self,
            F::Rotate | F::Restart | F::RotateLost | F::RotateStaged | F::RotatePublished
        )
    }

    pub fn end(self) -> End {
        match self {
            F::Delete | F::HalfDeleted | F::Interrupted | F::Withdrawn => End::Gone,
            F::Retain => End::Kept,
            F::Taken => End::Conflict,
            _ => End::Ready,
        }
    }
}
