//! What must hold always, and what has to be reachable.

use stateright::Property;

use crate::act::Act;
use crate::model::Operators;
use crate::recovery::{Verdict, converged};
use crate::step::broken;
use crate::world::{Known, Nonce, Owner, Secret, World, bit, has, items, touched};

fn is(world: &World, property: u16) -> bool {
    world.broken & property == 0
}

/// Whether the journal knows the groups of each user that it names.
fn is_recorded(w: &World) -> bool {
    let status = &w.object.status;
    let recorded = |n: Nonce, version: usize| {
        has(status.abandoned, n)
            || has(status.granted[version], n)
            || n == status.current.n && status.current.granted >> version & 1 == 1
            || n == status.pending.n && status.pending.granted >> version & 1 == 1
    };
    let given = |version: usize| items(w.mapped[version] & status.journal());
    (0..2).all(|version| given(version).all(|n| recorded(n, version)))
}

pub fn always() -> Vec<Property<Operators>> {
    let mut all = safety();
    all.extend(liveness());
    all
}

fn safety() -> Vec<Property<Operators>> {
    vec![
        Property::always(
            "S1 an attempt is journaled before its user exists, and as long as it does",
            |_, w: &World| {
                let unknown = (w.users | w.inflight) & !w.object.status.journal();
                is(w, broken::S1) && (!w.object.exists || unknown == 0)
            },
        ),
        Property::always("S2 no attempt is asked for twice", |_, w: &World| {
            is(w, broken::S2)
        }),
        Property::always("S3 no user is deleted whose token is in use", |_, w: &World| {
            is(w, broken::S3)
        }),
        Property::always(
            "S4 the Secret did carry what is called current",
            |_, w: &World| {
                let n = w.object.status.current.n;
                n == 0 || has(w.carried, n)
            },
        ),
        Property::always("S5 the current user exists", |_, w: &World| {
            let (current, gone) = (
                w.object.status.current,
                w.object.deleting || w.touched & touched::USER != 0,
            );
            gone || current.n == 0 || current.alien || has(w.users, current.n)
        }),
        Property::always("S6 nobody else's Secret is written", |_, w: &World| {
            is(w, broken::S6)
        }),
        Property::always("S7 when the object is gone, so are its users", |_, w: &World| {
            let kept = w
                .secrets
                .iter()
                .find(|s| s.owner == Owner::Released)
                .map_or(0, |s| bit(s.n));
            let left = (w.users | w.inflight) & !kept;
            w.object.exists || left == 0 || w.touched & touched::FINALIZER != 0
        }),
        Property::always("S8 few users beside the current one", |_, w: &World| {
            let status = &w.object.status;
            (status.retiring | status.abandoned).count_ones() <= 4
        }),
        Property::always("S9 token, user and attempt belong together", |_, w: &World| {
            is(w, broken::S9)
        }),
        Property::always("S12 no user without our marker is deleted", |_, w: &World| {
            is(w, broken::S12)
        }),
        Property::always("S13 the Secret never goes back", |_, w: &World| {
            let status = &w.object.status;
            let quiet = !w.object.exists || w.object.deleting || w.touched & touched::SECRET != 0;
            let known = |(s, left): (&Secret, u8)| {
                s.owner != Owner::Ours
                    || s.n == 0
                    || has(bit(status.current.n) | bit(status.pending.n) | left, s.n)
            };
            is(w, broken::S13) && (quiet || w.secrets.iter().zip(status.left).all(known))
        }),
        Property::always("S18 what a user may do is recorded first", |_, w: &World| {
            is_recorded(w)
        }),
        Property::always("S19 a create call has a permit of its own", |_, w: &World| {
            is(w, broken::S19)
        }),
        Property::always("S17 a user that stays is recorded", |_, w: &World| {
            let mut kept = w.secrets.iter().filter(|s| s.owner == Owner::Released);
            kept.all(|s| has(w.recorded, s.n))
        }),
        Property::always(
            "R1 replaced users live until their overlap ends",
            |_, w: &World| is(w, broken::OVERLAP),
        ),
        Property::always(
            "R2 a staged token is published after it was seen to work",
            |_, w: &World| is(w, broken::VERIFIED),
        ),
        Property::always(
            "R3 a token is published after its access is complete",
            |_, w: &World| is(w, broken::COMPLETE),
        ),
        Property::always(
            "R4 a token is not let go of before it is kept elsewhere",
            |_, w: &World| is(w, broken::DURABLE),
        ),
    ]
}

fn liveness() -> Vec<Property<Operators>> {
    vec![
        Property::always(
            "L1 left alone, everything becomes right",
            |m: &Operators, w: &World| {
                w.object.deleting || matches!(m.verdict(w), Verdict::Good | Verdict::Busy)
            },
        ),
        Property::always(
            "L2 left alone, a deletion comes to its end",
            |m: &Operators, w: &World| {
                !w.object.deleting || matches!(m.verdict(w), Verdict::Good | Verdict::Busy)
            },
        ),
        Property::always(
            "L3 nothing is written when all is well",
            |m: &Operators, w: &World| m.verdict(w) != Verdict::Busy,
        ),
    ]
}

/// What has to be reachable, or the rest would hold for want of anything that happens.
pub fn goals() -> Vec<Property<Operators>> {
    vec![
        Property::sometimes("G1 ready", |m: &Operators, w: &World| {
            m.first(0, || {
                w.object.status.current.n > 0 && converged(&m.decider.config, w)
            })
        }),
        Property::sometimes("G2 gone", |m: &Operators, w: &World| {
            m.first(1, || !w.object.exists && w.posted | w.users == 0)
        }),
        Property::sometimes("G3 replaced", |m: &Operators, w: &World| {
            m.first(2, || {
                w.object.status.current.n > 0 && w.object.status.retiring > 0
            })
        }),
        Property::sometimes("G4 staged and published", |m: &Operators, w: &World| {
            m.first(3, || w.secrets.iter().any(|s| s.n > 0 && has(w.staged, s.n)))
        }),
        Property::sometimes("G5 given up and swept", |m: &Operators, w: &World| {
            m.first(4, || {
                let mut processes = w.processes.iter();
                processes.any(|p| p.seen.learned.deleted & p.seen.object.status.abandoned != 0)
            })
        }),
        Property::sometimes("G6 rolled forward", |m: &Operators, w: &World| {
            m.first(5, || {
                w.processes.iter().any(|p| {
                    let pending = p.seen.object.status.pending.n;
                    let forward = matches!(p.act, Act::Journal(status, false) if status.current.n == pending);
                    pending > 0 && p.seen.learned.created == Known::Not && forward
                })
            })
        }),
    ]
}
