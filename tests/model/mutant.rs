//! Protocols that are a little wrong. Each has to be found, or the model would not show that the right one is right.

use crate::act::Act;
use crate::world::{Kept, Known, Object, Owner, Read, Secret, Seen, Status, bit, has};

/// The access of both versions of the spec is recorded.
const BOTH: u8 = 3;

/// What is done wrong; where it acts on a step rather than on what the plan sees or says, see `step.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The create call is sent without the attempt in the journal.
    NoIntent,
    /// Nothing is fenced.
    NoFence,
    /// Staging is not barred.
    NoBar,
    /// A token that is staged already is no hindrance.
    BlindBar,
    /// The fence goes over whatever is there.
    BlindFence,
    /// Secrets are written without compare-and-swap.
    BlindSecret,
    /// Only when the write of a new token is refused, it is written over what is there.
    BlindRetry,
    /// The status is written without compare-and-swap.
    BlindStatus,
    /// Abandoned attempts are forgotten at once.
    NoSettling,
    /// So they are when the object is being deleted.
    NoSettlingAtEnd,
    /// A process sends its create call even after the settle window: what the protocol has to assume never happens.
    SendsAfterSettling,
    /// The finalizer comes after the user.
    LateFinalizer,
    /// The finalizer goes first.
    FinalizerFirst,
    /// A create call without an answer is sent again.
    Repost,
    /// So is that of an attempt found pending after a crash.
    ResumeCreate,
    /// An attempt found pending is taken for committed.
    PromoteBlind,
    /// The old user is deleted before the new one is there.
    DeleteFirst,
    /// What became of a create call without an answer is not looked after.
    ForgetUnknown,
    /// A create call without an answer is taken for one that failed.
    UnknownIsNo,
    /// The user is called current before its token is kept.
    SuccessBeforeSecret,
    /// A write of the Secret without an answer is taken for one that failed.
    CompensateUnknown,
    /// A Secret of somebody else is taken over.
    AdoptForeign,
    /// The list of users is older than the journal that it is compared with.
    ListBeforeRead,
    /// Replaced users are deleted before their overlap ends.
    NoOverlap,
    /// Replaced users are deleted without a look at what the Secret carries.
    RetireUnseen,
    /// Replaced users are forgotten.
    NoRetiring,
    /// A token is published that was not seen to work.
    PublishUnverified,
    /// A token is published before its user is in its groups.
    PublishIncomplete,
    /// The staged token is deleted before it is published.
    UnstageFirst,
    /// A user is deleted by its id alone.
    TrustIds,
    /// A deletion that failed is taken for one that worked.
    ForgetFailedDeletion,
    /// An attempt that is pending when the object is deleted is overlooked.
    DeletionSkipsPending,
    /// A Secret that is left over is deleted whatever it carries.
    OldSecretUnseen,
    /// A Secret is let go of before it is recorded that its user stays.
    ReleaseUnrecorded,
    /// `deletionPolicy: Retain` is not looked at.
    IgnoreRetain,
    /// A user gets other access before that is recorded.
    GrantUnrecorded,
    /// What a user may do is forgotten when it is replaced.
    ForgetGranted,
    /// The create call is sent without a permit.
    NoPermit,
    /// A create call without an answer is sent again, with the same permit.
    PermitUsedTwice,
    /// A permit is used although it has ended: another leader may have settled the attempt.
    PermitOutlivesLeadership,
}

impl Mutant {
    /// What the plan is made to see.
    pub fn blind(self, seen: &mut Seen) {
        let object: &mut Object = &mut seen.object;
        let learned = &mut seen.learned;
        let pending = object.status.pending.n;
        let found = pending > 0 && learned.ticket == 0 && !object.deleting;
        match self {
            Self::NoSettling => seen.settled = !0,
            Self::NoSettlingAtEnd if object.deleting => seen.settled = !0,
            Self::LateFinalizer if object.status.current.n == 0 && !object.deleting => {
                object.finalizer = true;
            }
            Self::ResumeCreate if found => learned.ticket = pending,
            Self::PromoteBlind if found => {
                seen.target = Secret {
                    owner: Owner::Ours,
                    n: pending,
                    intact: true,
                    alien: false,
                };
            }
            Self::UnknownIsNo if learned.created == Known::Unknown => learned.created = Known::No,
            Self::CompensateUnknown if learned.committed == Known::Unknown => learned.committed = Known::No,
            Self::AdoptForeign => {
                for secret in [&mut seen.target, &mut seen.current] {
                    if secret.owner == Owner::Foreign {
                        secret.owner = Owner::Ours;
                    }
                }
            }
            Self::NoOverlap => object.status.due = object.status.retiring,
            Self::RetireUnseen => {
                for secret in [&mut seen.target, &mut seen.current] {
                    if has(object.status.retiring, secret.n) {
                        secret.n = 0;
                    }
                }
            }
            Self::ReleaseUnrecorded => learned.recorded = Known::Yes,
            Self::NoPermit => learned.reserved = Known::Yes,
            Self::PublishUnverified => {
                learned.verified = Known::Yes;
                learned.verified_of = Kept::Staged(pending);
            }
            Self::PublishIncomplete => {
                (learned.groups, learned.groups_of) = (Known::Yes, pending);
                if let Read::User(n, _) = learned.read {
                    learned.read = Read::User(n, 1);
                }
            }
            Self::ForgetFailedDeletion => {
                learned.deleted |= learned.delete_failed;
                learned.delete_failed = 0;
            }
            Self::GrantUnrecorded => {
                let status = &mut object.status;
                (status.pending.granted, status.current.granted) = (BOTH, BOTH);
            }
            Self::DeletionSkipsPending if object.deleting => object.status.pending.n = 0,
            _ => {}
        }
    }

    /// What becomes of what the plan says; `old`: the status that it would have seen.
    pub fn twist(self, seen: &Seen, old: &Status, act: Act) -> Act {
        let change = |mut status: Status| match self {
            Self::GrantUnrecorded => {
                if status.pending.granted == BOTH {
                    status.pending.granted = old.pending.granted;
                }
                if status.current.granted == BOTH {
                    let made = status.current.n == old.pending.n;
                    status.current.granted = if made {
                        old.pending.granted
                    } else {
                        old.current.granted
                    };
                }
                let replaced = has(status.retiring & !old.retiring, old.current.n);
                if replaced {
                    for (version, set) in status.granted.iter_mut().enumerate() {
                        if old.current.granted >> version & 1 == 0 {
                            *set &= !bit(old.current.n);
                        }
                    }
                }
                status
            }
            Self::ForgetGranted => Status {
                granted: [0; 2],
                ..status
            },
            Self::ForgetUnknown => Status {
                abandoned: status.abandoned & old.abandoned,
                ..status
            },
            Self::NoRetiring => Status {
                retiring: status.retiring & old.retiring,
                ..status
            },
            _ => status,
        };
        match act {
            Act::Leave(status) => {
                let status = change(status);
                if status == *old {
                    Act::Stop
                } else {
                    Act::Leave(status)
                }
            }
            Act::Journal(status, ticket) => Act::Journal(change(status), ticket),
            _ if self == Self::FinalizerFirst && seen.object.deleting && act != Act::Stop => {
                Act::RemoveFinalizer
            }
            act => act,
        }
    }
}
