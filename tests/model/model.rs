//! The model that stateright explores: what may happen, and what must hold.

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::{Model, Property};

use crate::act::{Act, Action, Outcome};
use crate::config::{Config, people};
use crate::decide::Decider;
use crate::properties::{always, goals};
use crate::recovery::{Recovery, Verdict};
use crate::step::Hand;
use crate::world::{Object, Owner, Permit, Phase, Secret, World, bit, items, touched};

pub struct Operators {
    pub decider: Decider,
    pub recovery: Recovery,
    /// Goals that were reached: each is looked for only until then.
    reached: AtomicU32,
}

impl Operators {
    pub fn new(config: Config) -> Self {
        Self {
            decider: Decider::new(config),
            recovery: Recovery::new(),
            reached: AtomicU32::new(0),
        }
    }

    fn config(&self) -> &Config {
        &self.decider.config
    }

    fn hand<'a>(&'a self, world: &'a mut World, me: usize) -> Hand<'a> {
        Hand {
            decider: &self.decider,
            world,
            me,
            most: self.config().attempts,
            wrote: false,
        }
    }

    /// Whether a goal is reached for the first time.
    pub fn first(&self, goal: u32, is_reached: impl FnOnce() -> bool) -> bool {
        let goal = 1 << goal;
        self.reached.load(Ordering::Relaxed) & goal == 0
            && is_reached()
            && self.reached.fetch_or(goal, Ordering::Relaxed) & goal == 0
    }

    pub fn verdict(&self, world: &World) -> Verdict {
        self.recovery.verdict(&self.decider, world)
    }

    /// How the next step of a process may end, but well.
    fn outcomes(act: Act, world: &World) -> &'static [Outcome] {
        use Outcome::{Failed, Late, Lost, Rejected, Vanished};
        let verify = matches!(act, Act::VerifyPublished(_) | Act::VerifyStaged(_));
        match act {
            Act::VerifyPublished(_) | Act::VerifyStaged(_) if world.rejections > 0 && world.faults > 0 => {
                &[Failed, Rejected]
            }
            _ if verify && world.rejections > 0 => &[Rejected],
            _ if world.faults == 0 => &[],
            Act::Create(_) => &[Failed, Vanished, Lost, Late],
            Act::Reserve
            | Act::ReadUser(_)
            | Act::ListUsers
            | Act::VerifyPublished(_)
            | Act::VerifyStaged(_) => &[Failed],
            Act::Commit(..)
            | Act::Publish(..)
            | Act::Stage(_)
            | Act::Unstage(_)
            | Act::Bar(_)
            | Act::Fence(..)
            | Act::Compensate(_)
            | Act::PutGroups(..)
            | Act::DeleteUser(..)
            | Act::DeleteSecret(_)
            | Act::DeleteOldSecret(..)
            | Act::Record(_)
            | Act::Release(_) => &[Failed, Lost],
            // For the others no answer is the same as a crash, before or after.
            _ => &[],
        }
    }

    fn acts_of_people(&self, world: &World, actions: &mut Vec<Action>) {
        let (config, object) = (self.config(), &world.object);
        let live = object.exists && !object.deleting;
        if config.delete && live {
            actions.push(Action::Delete);
        }
        if world.rotations > 0 && live {
            actions.push(if config.urgent {
                Action::Revoke
            } else {
                Action::Rotate
            });
        }
        if world.acts == 0 || !object.exists {
            return;
        }
        if config.may(people::EDIT) && live {
            actions.push(Action::Edit);
        }
        if config.may(people::FINALIZER) && object.finalizer {
            actions.push(Action::RemoveFinalizer);
        }
        if config.may(people::USER) {
            actions.extend(items(world.users).map(Action::DeleteUser));
        }
        for (at, secret) in (0..=u8::from(config.rename)).zip(world.secrets) {
            let ours = secret.owner == Owner::Ours;
            if config.may(people::SECRET) && ours {
                actions.push(Action::DeleteSecret(at));
                if secret.intact {
                    actions.push(Action::EditSecret(at));
                }
            }
            if config.may(people::FORGE) && ours && secret.n > 0 && !secret.alien {
                actions.push(Action::ForgeSecret(at));
            }
            if config.may(people::RESTORE) && ours {
                let old = object.status.retiring;
                actions.extend(items(old).map(|n| Action::RestoreSecret(at, n)));
            }
            if config.may(people::SQUAT) && secret.owner == Owner::Absent {
                actions.push(Action::Squat(at));
            }
        }
    }

    /// Time, and people.
    fn happen(&self, world: &mut World, action: Action) {
        let object = &mut world.object;
        let secret = |at: u8, world: &mut World, change: &dyn Fn(&mut Secret)| {
            change(&mut world.secrets[usize::from(at)]);
            world.wrote_secret(at);
            world.acts -= 1;
            world.touched |= touched::SECRET;
        };
        match action {
            Action::Start(_) | Action::Take(..) | Action::Crash(_) | Action::PermitEnds(_) => {}
            Action::Land(n) => self.hand(world, 0).land(n),
            Action::SweepStaged(n) => {
                world.staged &= !bit(n);
                world.barred &= !bit(n);
            }
            Action::OverlapEnds => object.status.due = object.status.retiring,
            Action::PatienceEnds => object.status.pending.old = true,
            Action::Delete if object.finalizer => {
                object.deleting = true;
                world.wrote_object(None);
            }
            Action::Delete => world.remove_object(),
            Action::Rotate => {
                object.rotate += 1;
                world.rotations -= 1;
                world.wrote_object(None);
            }
            Action::Revoke => {
                object.revoke += 1;
                world.rotations -= 1;
                world.wrote_object(None);
            }
            Action::Edit => {
                object.spec ^= 1;
                world.acts -= 1;
                world.wrote_object(None);
            }
            Action::DeleteSecret(at) => secret(at, world, &|s| *s = Secret::default()),
            Action::EditSecret(at) => secret(at, world, &|s| s.intact = false),
            Action::RestoreSecret(at, n) => secret(at, world, &|s| (s.n, s.intact) = (n, true)),
            Action::ForgeSecret(at) => {
                secret(at, world, &|s| s.alien = true);
                world.touched |= touched::FORGED;
            }
            Action::Squat(at) => secret(at, world, &|s| s.owner = Owner::Foreign),
            Action::DeleteUser(n) => {
                world.users &= !bit(n);
                world.unmap(n);
                world.acts -= 1;
                world.touched |= touched::USER;
            }
            Action::RemoveFinalizer => {
                object.finalizer = false;
                world.acts -= 1;
                world.touched |= touched::FINALIZER;
                if object.deleting {
                    world.remove_object();
                } else {
                    world.wrote_object(None);
                }
            }
        }
    }
}

impl Model for Operators {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let config = self.config();
        let mut world = World::new(config.faults, config.acts, config.rotations, config.rejections);
        world.object = Object {
            exists: true,
            ..Object::default()
        };
        if config.foreign {
            world.secrets[0].owner = Owner::Foreign;
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // One of two processes that know nothing is like the other.
        let idle = world.processes.iter().position(|p| p.phase == Phase::Idle);
        for (i, process) in world
            .processes
            .iter()
            .enumerate()
            .rev()
            .take(self.config().processes)
        {
            if process.phase != Phase::Idle {
                actions.push(Action::Take(i, Outcome::Ok));
            }
            if process.phase == Phase::Run {
                let outcomes = Self::outcomes(process.act, world);
                actions.extend(outcomes.iter().map(|out| Action::Take(i, *out)));
                if world.faults > 0 {
                    actions.push(Action::Crash(i));
                    if process.permit == Permit::Held {
                        actions.push(Action::PermitEnds(i));
                    }
                }
            }
        }
        let busy = world.processes.iter().filter(|p| p.phase != Phase::Idle).count();
        if let Some(i) = idle.filter(|_| world.object.exists && busy < self.config().processes) {
            actions.push(Action::Start(i));
        }
        actions.extend(items(world.inflight).map(Action::Land));
        let unneeded = (world.staged | world.barred) & !world.object.status.open();
        actions.extend(items(unneeded).map(Action::SweepStaged));
        let status = &world.object.status;
        if status.retiring & !status.due != 0 {
            actions.push(Action::OverlapEnds);
        }
        if self.config().rejections > 0 && status.pending.n > 0 && !status.pending.old {
            actions.push(Action::PatienceEnds);
        }
        self.acts_of_people(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = *last;
        match action {
            Action::Start(i) => self.hand(&mut world, i).start(),
            Action::Take(i, out) => {
                match out {
                    Outcome::Ok => {}
                    Outcome::Rejected => world.rejections -= 1,
                    _ => world.faults -= 1,
                }
                self.hand(&mut world, i).take(out)?;
            }
            Action::Crash(i) => {
                world.faults -= 1;
                self.hand(&mut world, i).end();
            }
            Action::PermitEnds(i) => {
                world.faults -= 1;
                world.processes[i].permit = Permit::Ended;
            }
            other => self.happen(&mut world, other),
        }
        world.normalize();
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let config = self.config();
        let mut all = always();
        let goals = goals();
        let staged = config.rotations > 0 || config.groups;
        let faulty = config.faults > 0;
        let expected = [
            !config.foreign,
            config.delete,
            config.rotations > 0,
            staged,
            (faulty || config.processes > 1) && !config.foreign,
            faulty && !config.foreign,
        ];
        all.extend(
            goals
                .into_iter()
                .zip(expected)
                .filter(|(_, e)| *e)
                .map(|(g, _)| g),
        );
        all
    }
}
