//! What goes wrong at a write point.

use super::point::Point;
use crate::support::proxy::{Act, Lie};

/// A column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Nothing: the run that all others are compared with.
    None,
    CrashBefore,
    CrashAfter,
    AnswerLost,
    /// 500, without effect.
    Error,
    /// 504, though it took effect.
    ErrorAfter,
    Conflict,
    Throttled,
    /// The next reconcile reads an older version of the object.
    Stale,
    /// A second leader's reconcile runs to its end while this request is on its way.
    SecondLeader,
    /// The same, and the second leader brings all to the end before this request arrives.
    SecondLeaderEnds,
    /// The request arrives after the client gave up.
    Late,
    /// The same, and after the platform was asked for its users.
    LateListed,
    Slow,
    Stalls,
    NoItems,
    Truncated,
    Html,
    LacksNewest,
    Missing,
}

use Column as C;

/// What may happen to every write.
const ANY: [C; 7] = [
    C::CrashBefore,
    C::CrashAfter,
    C::AnswerLost,
    C::Error,
    C::ErrorAfter,
    C::Conflict,
    C::Throttled,
];
/// What may happen around a write that a reconcile depends on.
const AROUND: [C; 3] = [C::Stale, C::SecondLeader, C::SecondLeaderEnds];

impl Column {
    pub const ALL: [Self; 20] = [
        C::None,
        C::CrashBefore,
        C::CrashAfter,
        C::AnswerLost,
        C::Error,
        C::ErrorAfter,
        C::Conflict,
        C::Throttled,
        C::Stale,
        C::SecondLeader,
        C::SecondLeaderEnds,
        C::Late,
        C::LateListed,
        C::Slow,
        C::Stalls,
        C::NoItems,
        C::Truncated,
        C::Html,
        C::LacksNewest,
        C::Missing,
    ];

    pub fn name(self) -> &'static str {
        match self {
            C::None => "none",
            C::CrashBefore => "crash-before",
            C::CrashAfter => "crash-after",
            C::AnswerLost => "answer-lost",
            C::Error => "error-500",
            C::ErrorAfter => "applied-504",
            C::Conflict => "conflict-409",
            C::Throttled => "throttled-429",
            C::Stale => "stale-read",
            C::SecondLeader => "second-leader",
            C::SecondLeaderEnds => "second-leader-ends",
            C::Late => "late",
            C::LateListed => "late-listed",
            C::Slow => "slow",
            C::Stalls => "stalls",
            C::NoItems => "lie-no-items",
            C::Truncated => "lie-truncated",
            C::Html => "lie-html",
            C::LacksNewest => "lie-lacks-newest",
            C::Missing => "lie-missing",
        }
    }

    /// What can go wrong at this point.
    pub fn at(point: Point) -> Vec<Self> {
        let more: &[Self] = match point {
            Point::Event | Point::Lease => return ANY.to_vec(),
            // Longer than the permit for the create call lasts.
            Point::DryRun => return [&ANY as &[Self], &[C::Late]].concat(),
            Point::Finalizer | Point::Intent => &[C::Late],
            Point::Post => &[
                C::Late,
                C::LateListed,
                C::Slow,
                C::Stalls,
                C::NoItems,
                C::Truncated,
                C::Html,
            ],
            Point::DeleteUser => &[C::Late, C::Slow, C::Stalls, C::Html],
            Point::Policies | Point::Groups => &[C::Late, C::Stalls],
            Point::List => {
                return vec![
                    C::AnswerLost,
                    C::Error,
                    C::Throttled,
                    C::Stalls,
                    C::NoItems,
                    C::Truncated,
                    C::Html,
                    C::LacksNewest,
                ];
            }
            Point::Guard => {
                return vec![
                    C::CrashAfter,
                    C::AnswerLost,
                    C::Error,
                    C::Throttled,
                    C::Stalls,
                    C::NoItems,
                    C::Truncated,
                    C::Html,
                    C::Missing,
                ];
            }
            _ => &[],
        };
        [&ANY, &AROUND as &[Self], more].concat()
    }

    /// The act of the proxy, for what one rule can do.
    pub fn act(self) -> Option<Act> {
        let act = match self {
            C::CrashBefore => Act::KillBefore,
            C::CrashAfter => Act::KillAfter,
            C::AnswerLost => Act::DropAnswer,
            C::Error => Act::Refuse(500),
            C::ErrorAfter => Act::ApplyThen(504),
            C::Conflict => Act::Refuse(409),
            C::Throttled => Act::Refuse(429),
            C::Slow => Act::Lie(Lie::Slow),
            C::Stalls => Act::Lie(Lie::Stalls),
            C::NoItems => Act::Lie(Lie::NoItems),
            C::Truncated => Act::Lie(Lie::Truncated),
            C::Html => Act::Lie(Lie::Html),
            C::LacksNewest => Act::Lie(Lie::LacksNewest),
            C::Missing => Act::Lie(Lie::Missing),
            C::None | C::Stale | C::SecondLeader | C::SecondLeaderEnds | C::Late | C::LateListed => {
                return None;
            }
        };
        Some(act)
    }

    pub fn is_crash(self) -> bool {
        matches!(self, C::CrashBefore | C::CrashAfter)
    }
}
