//! What the steps do to the world: the model of `src/controller/{observe,apply}.rs`.

mod platform;
mod secrets;

use crate::act::{Act, Outcome};
use crate::config::Config;
use crate::decide::Decider;
use crate::mutant::Mutant;
use crate::world::{FRESH, Known, Nonce, Object, Phase, Process, Status, World, bit};

/// Properties of single steps; bits of [`World::broken`].
pub mod broken {
    pub const S1: u16 = 1;
    pub const S2: u16 = 2;
    pub const S3: u16 = 4;
    pub const S6: u16 = 8;
    pub const S9: u16 = 16;
    pub const S12: u16 = 32;
    pub const S13: u16 = 64;
    pub const OVERLAP: u16 = 128;
    pub const VERIFIED: u16 = 256;
    pub const COMPLETE: u16 = 512;
    pub const DURABLE: u16 = 1024;
    pub const S19: u16 = 2048;
}

fn answer(out: Outcome) -> Known {
    if out == Outcome::Ok { Known::Yes } else { Known::No }
}

const fn takes_effect(out: Outcome) -> bool {
    matches!(out, Outcome::Ok | Outcome::Lost)
}

/// One step of process `me`.
pub struct Hand<'a> {
    pub decider: &'a Decider,
    pub world: &'a mut World,
    pub me: usize,
    /// Attempts that may be known at the same time.
    pub most: Nonce,
    /// Whether anything was written.
    pub wrote: bool,
}

impl Hand<'_> {
    fn config(&self) -> &Config {
        &self.decider.config
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.config().mutant == Some(mutant)
    }

    fn process(&mut self) -> &mut Process {
        &mut self.world.processes[self.me]
    }

    fn breaks(&mut self, property: u16) {
        self.world.broken |= property;
    }

    /// Which Secret one version of the spec names.
    fn secret_of(&self, spec: u8) -> u8 {
        if self.config().rename { spec } else { 0 }
    }

    /// Reads the object.
    pub fn start(&mut self) {
        let object = self.world.object;
        let status = object.status;
        let target_at = self.secret_of(if status.pending.n > 0 {
            status.pending.spec
        } else {
            object.spec
        });
        let current_at = if status.current.n > 0 {
            self.secret_of(status.current.spec)
        } else {
            target_at
        };
        let users = self.world.users;
        let early = self.is(Mutant::ListBeforeRead);
        let process = self.process();
        *process = Process {
            phase: Phase::ReadTarget,
            object_fresh: true,
            ..Process::default()
        };
        process.seen.object = object;
        process.seen.target_at = target_at;
        process.seen.current_at = current_at;
        if early {
            process.seen.learned.list = users;
        }
    }

    /// The next read, or the next step; `None`: more attempts than the configuration has room for.
    pub fn take(&mut self, out: Outcome) -> Option<()> {
        let process = *self.process();
        let view = |at: u8, world: &World| world.secrets[usize::from(at)];
        match process.phase {
            Phase::Idle => {}
            Phase::ReadTarget => {
                let secret = view(process.seen.target_at, self.world);
                let process = self.process();
                process.seen.target = secret;
                process.target_fresh = true;
                if process.seen.current_at == process.seen.target_at {
                    process.seen.current = secret;
                    process.current_fresh = true;
                    self.settled();
                } else {
                    process.phase = Phase::ReadCurrent;
                }
            }
            Phase::ReadCurrent => {
                let secret = view(process.seen.current_at, self.world);
                let process = self.process();
                process.seen.current = secret;
                process.current_fresh = true;
                self.settled();
            }
            Phase::ReadStaged => {
                let status = &process.seen.object.status;
                let looked_for = status.open();
                let (staged, barred) = (self.world.staged & looked_for, self.world.barred & looked_for);
                let seen = &mut self.process().seen;
                (seen.staged, seen.barred) = (staged, barred);
                self.ask();
            }
            Phase::Run => {
                self.act(process.act, out)?;
                if self.process().phase == Phase::Run {
                    self.ask();
                }
            }
        }
        Some(())
    }

    /// Which abandoned attempts cannot have a create call on its way any more. The time that this takes is not
    /// modelled: what is waited for is, so that settling is as early as it can be right.
    fn settled(&mut self) {
        let mut open = self.world.inflight;
        if !self.is(Mutant::SendsAfterSettling) {
            open = self
                .world
                .processes
                .iter()
                .fold(open, |set, p| set | bit(p.unsent()));
        }
        let process = self.process();
        let status = &process.seen.object.status;
        process.seen.settled = status.abandoned & !open;
        if status.pending.n > 0 || status.abandoned > 0 {
            process.phase = Phase::ReadStaged;
        } else {
            self.ask();
        }
    }

    /// Asks the plan.
    fn ask(&mut self) {
        let decider = self.decider;
        let process = self.process();
        process.phase = Phase::Run;
        process.act = decider.decide(&process.seen);
        if process.act == Act::Stop {
            self.end();
        }
    }

    pub fn end(&mut self) {
        *self.process() = Process::default();
    }

    fn act(&mut self, act: Act, out: Outcome) -> Option<()> {
        match act {
            Act::Stop => {}
            Act::Torn => {
                self.breaks(broken::S9);
                self.end();
            }
            Act::Leave(status) => {
                self.write_object(|object| object.status = status);
                self.end();
            }
            Act::Journal(status, ticket) => return self.journal(status, ticket),
            Act::AddFinalizer => {
                if !self.write_object(|object| object.finalizer = true) {
                    self.end();
                }
            }
            Act::RemoveFinalizer => self.remove_finalizer(),
            other => {
                self.on_platform(other, out);
                self.on_secrets(other, out);
            }
        }
        Some(())
    }

    /// Compare-and-swap of the object.
    fn write_object(&mut self, change: impl FnOnce(&mut Object)) -> bool {
        let blind = self.is(Mutant::BlindStatus);
        let may = self.world.object.exists && (self.process().object_fresh || blind);
        if may {
            let before = self.world.object.status;
            change(&mut self.world.object);
            // Time that has passed does not come back because of a write by somebody who does not know of it.
            let status = &mut self.world.object.status;
            status.due |= before.due & status.retiring;
            status.pending.old |= before.pending.old && before.pending.n == status.pending.n;
            self.world.wrote_object(Some(self.me));
            self.wrote = true;
            let object = self.world.object;
            self.process().seen.object = object;
        }
        may
    }

    fn journal(&mut self, status: Status, ticket: bool) -> Option<()> {
        let n = if status.journal() & bit(FRESH) == 0 {
            0
        } else {
            self.world.unused(self.most)?
        };
        let status = status.named(n);
        let old = self.world.object.status.current;
        let written = if ticket && self.is(Mutant::NoIntent) {
            self.process().seen.object.status = status;
            true
        } else {
            self.write_object(|object| object.status = status)
        };
        if !written {
            self.end();
            return Some(());
        }
        self.process().seen.learned.ticket = if ticket { n } else { 0 };
        if ticket {
            if !self.is(Mutant::NoIntent) {
                self.world.journaled |= bit(n);
            }
            if self.is(Mutant::DeleteFirst) && old.n > 0 {
                self.delete_user(old.n);
            }
        }
        Some(())
    }

    fn remove_finalizer(&mut self) {
        if !self.world.object.exists {
            self.process().seen.learned.unlocked = true;
        } else if !self.write_object(|object| object.finalizer = false) {
            self.end();
        } else {
            self.process().seen.learned.unlocked = true;
            if self.world.object.deleting {
                self.world.remove_object();
            }
        }
    }
}
