//! Liveness, as a property of each world: from there, without any more faults, one process brings everything to its
//! end by itself.
//!
//! (`eventually` of the checker overlooks counterexamples that end in cycles or where paths join, by its own words.)

use crate::act::Outcome;
use crate::config::Config;
use crate::decide::{Decider, Memo};
use crate::step::Hand;
use crate::world::{MOST, Owner, Phase, Process, Secret, Status, World, bit, items, touched};

/// As in the controller: no decision needs as many.
const MAX_STEPS: usize = 64;
/// Worlds are quiet long before.
const MAX_ROUNDS: usize = 32;

/// What becomes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// A reconcile takes more steps than it may.
    Endless,
    /// It never comes to rest.
    Restless,
    /// It comes to rest, and is not as it should be.
    Stuck,
    /// It is as it should be, and is written again and again.
    Busy,
    /// What must not be done was done on the way.
    Unsafe,
}

pub struct Recovery {
    memo: Memo<World, Verdict>,
}

impl Recovery {
    pub fn new() -> Self {
        Self { memo: Memo::new() }
    }

    pub fn worlds(&self) -> usize {
        self.memo.len()
    }

    /// What becomes of `world` when all processes die now and nothing goes wrong any more.
    pub fn verdict(&self, decider: &Decider, world: &World) -> Verdict {
        let quiet = quiet(world);
        self.memo.get(&quiet, || judge(decider, &quiet, &mut |_, _| {}))
    }

    /// The steps that lead to the verdict, for people.
    pub fn narrate(decider: &Decider, world: &World) -> Vec<String> {
        let mut reported = Vec::new();
        let quiet = quiet(world);
        let verdict = judge(decider, &quiet, &mut |world, what| {
            reported.push(format!(
                "{what} {} | users {:b}",
                brief(&world.processes[0].act),
                world.users
            ));
        });
        reported.push(format!("{verdict:?}"));
        reported
    }
}

/// The world when all processes die and nothing goes wrong any more.
fn quiet(world: &World) -> World {
    let mut quiet = *world;
    quiet.processes = [Process::default(); 2];
    (quiet.faults, quiet.acts, quiet.rotations, quiet.rejections) = (0, 0, 0, 0);
    (quiet.broken, quiet.journaled, quiet.posted, quiet.carried) = (0, !0, quiet.users, 0);
    quiet
}

/// Without what is zero.
pub fn brief(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    let parts = text
        .split(", ")
        .filter(|p| ![": 0", ": false", "0", ": Not"].iter().any(|z| p.ends_with(z)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Told of each world on the way.
type Listener<'a> = dyn FnMut(&World, &str) + 'a;

/// Calls on their way take effect before anybody looks, or one by one while somebody works.
fn judge(decider: &Decider, quiet: &World, tell: &mut Listener) -> Verdict {
    let verdict = run(decider, *quiet, true, tell);
    if verdict == Verdict::Good && quiet.inflight != 0 {
        run(decider, *quiet, false, tell)
    } else {
        verdict
    }
}

fn land_all(hand: &mut Hand, most: usize) {
    for n in items(hand.world.inflight).take(most) {
        hand.land(n);
    }
}

fn run(decider: &Decider, mut world: World, land_first: bool, tell: &mut Listener) -> Verdict {
    if land_first {
        land_all(&mut hand(decider, &mut world), usize::MAX);
    }
    for _ in 0..MAX_ROUNDS {
        let before = world;
        let Some(wrote) = reconcile(decider, &mut world, tell) else {
            return Verdict::Endless;
        };
        if world.broken != 0 {
            return Verdict::Unsafe;
        }
        land_all(&mut hand(decider, &mut world), 1);
        pass(&mut world);
        tell(&world, "later");
        if world == before {
            return match (converged(&decider.config, &world), wrote) {
                (true, false) => Verdict::Good,
                (true, true) => Verdict::Busy,
                (false, _) => Verdict::Stuck,
            };
        }
    }
    Verdict::Restless
}

fn hand<'a>(decider: &'a Decider, world: &'a mut World) -> Hand<'a> {
    Hand {
        decider,
        world,
        me: 0,
        most: MOST,
        wrote: false,
    }
}

/// Whether anything was written; `None`: it did not come to an end.
fn reconcile(decider: &Decider, world: &mut World, tell: &mut Listener) -> Option<bool> {
    if !world.object.exists {
        return Some(false);
    }
    let mut hand = hand(decider, world);
    hand.start();
    for _ in 0..MAX_STEPS {
        if hand.world.processes[0].phase == Phase::Idle {
            return Some(hand.wrote);
        }
        hand.take(Outcome::Ok)?;
        tell(hand.world, "next");
    }
    None
}

/// Time passes, and staged tokens that nobody needs are swept, as users are.
fn pass(world: &mut World) {
    let status = &mut world.object.status;
    status.due = status.retiring;
    (world.posted, world.carried) = (world.users, 0);
    world.staged &= world.object.status.open();
    world.barred &= world.object.status.open();
}

/// Whether everything is as it should be.
pub fn converged(config: &Config, world: &World) -> bool {
    let object = &world.object;
    if !object.exists {
        let kept = world.secrets.iter().find(|s| s.owner == Owner::Released);
        let kept = kept.map_or(0, |s| bit(s.n));
        let forced = world.touched & touched::FINALIZER != 0;
        let ours = world.staged | world.barred != 0 || world.secrets.iter().any(|s| s.owner == Owner::Ours);
        return !ours && (world.users & !kept == 0 || forced);
    }
    if object.deleting {
        return false;
    }
    let status = &object.status;
    let rest = Status {
        current: status.current,
        rotate: status.rotate,
        revoke: status.revoke,
        ..Status::default()
    };
    let calm = *status == rest && object.finalizer | (status.journal() == 0);
    let current = status.current;
    if current.alien {
        // People have to find out who changed the Secret.
        return calm;
    }
    let at = if config.rename { object.spec } else { 0 };
    if matches!(
        world.secrets[usize::from(at)].owner,
        Owner::Foreign | Owner::Released
    ) {
        // People have to choose another name. Until then an attempt may stay staged.
        return status.abandoned == 0 && (world.users | world.staged | world.barred) & !status.journal() == 0;
    }
    let published = Secret {
        owner: Owner::Ours,
        n: current.n,
        intact: true,
        alien: world.secrets[usize::from(at)].alien,
    };
    // The placeholder of a fence may be left under an earlier name; it carries nothing.
    let others = (0..2).filter(|s| *s != usize::from(at)).map(|s| world.secrets[s]);
    let others = others.into_iter().all(|s| s.owner != Owner::Ours || s.n == 0);
    let reported = (status.rotate, status.revoke) == (object.rotate, object.revoke);
    let version = if config.regroup { object.spec } else { 0 };
    let complete = current.access == version + 1
        && current.granted == 1 << version
        && (config.regroup || current.spec == object.spec)
        && (!config.groups || world.groups(current.n) == 1 << version);
    calm && world.staged | world.barred == 0
        && current.n > 0
        && world.users == bit(current.n)
        && world.secrets[usize::from(at)] == published
        && others
        && reported
        && complete
}
