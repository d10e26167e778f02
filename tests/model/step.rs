//! What the steps do to the world: the model of `src/controller/{observe,apply}.rs`.

use crate::act::{Act, Outcome};
use crate::config::Config;
use crate::decide::Decider;
use crate::mutant::Mutant;
use crate::world::{
    ALIEN, FRESH, Known, Nonce, Object, Owner, Phase, Process, Read, Secret, Status, World, bit, has, touched,
};

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
                let staged = self.world.staged & (bit(status.pending.n) | status.abandoned);
                self.process().seen.staged = staged;
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
            Act::Create(n) => self.create(n, out),
            Act::Commit(n, at, over) => {
                let known = self.write_token(n, at, over, out);
                self.process().seen.learned.committed = known;
            }
            Act::Publish(n, at, over) => {
                let hand = self.process().seen.learned.created == Known::Yes;
                let known = if !hand && !has(self.world.staged, n) {
                    Known::No
                } else {
                    if self.is(Mutant::UnstageFirst) {
                        self.unstage(n);
                    }
                    if !self.process().accepted {
                        self.breaks(broken::VERIFIED);
                    }
                    self.write_token(n, at, over, out)
                };
                self.process().seen.learned.published = known;
            }
            Act::Stage(n) => {
                if takes_effect(out) {
                    self.world.staged |= bit(n);
                    self.wrote = true;
                }
                let learned = &mut self.process().seen.learned;
                learned.staged = match out {
                    Outcome::Ok => Known::Yes,
                    Outcome::Failed => Known::No,
                    _ => Known::Unknown,
                };
                if out == Outcome::Ok {
                    self.process().seen.staged |= bit(n);
                }
            }
            Act::Unstage(n) => {
                if takes_effect(out) {
                    self.unstage(n);
                }
                let learned = &mut self.process().seen.learned;
                if out == Outcome::Ok {
                    learned.unstaged |= bit(n);
                } else {
                    learned.unstage_failed |= bit(n);
                }
            }
            Act::Fence(at, over) => self.fence(at, over, out),
            Act::Compensate(n) => {
                if takes_effect(out) {
                    self.delete_user(n);
                }
                self.process().seen.learned.compensated = answer(out);
            }
            Act::ReadUser(n) => {
                let read = match out {
                    Outcome::Ok if n == ALIEN => Read::Alien,
                    Outcome::Ok if has(self.world.users, n) => Read::User(n, has(self.world.mapped, n)),
                    Outcome::Ok => Read::Gone,
                    _ => Read::Failed,
                };
                self.process().seen.learned.read = read;
            }
            Act::PutGroups(n) => {
                let works = takes_effect(out) && has(self.world.users, n);
                if works {
                    self.world.mapped |= bit(n);
                    self.wrote = true;
                }
                self.process().seen.learned.groups = if works { answer(out) } else { Known::No };
            }
            Act::VerifyPublished(at) => {
                let secret = self.world.secrets[usize::from(at)];
                let n = if secret.owner == Owner::Ours && secret.intact {
                    secret.n
                } else {
                    0
                };
                self.verify(n, out);
            }
            Act::VerifyStaged(n) => {
                let n = if has(self.world.staged, n) { n } else { 0 };
                self.verify(n, out);
            }
            Act::ListUsers => {
                let early = self.is(Mutant::ListBeforeRead);
                let users = self.world.users;
                let learned = &mut self.process().seen.learned;
                learned.listed = answer(out);
                if !early {
                    learned.list = if out == Outcome::Ok { users } else { 0 };
                }
            }
            Act::DeleteUser(n, marker) => self.delete_marked(n, marker, out),
            Act::DeleteSecret(at) => {
                let known = self.delete_secret(at, out);
                self.process().seen.learned.secrets[usize::from(at)] = known;
            }
            Act::DeleteOldSecret(at, n) => {
                let secret = self.world.secrets[usize::from(at)];
                let meant =
                    secret.carries(n) || self.is(Mutant::OldSecretUnseen) && secret.owner == Owner::Ours;
                if meant && takes_effect(out) {
                    let current = self.world.object.status.current;
                    if current.n > 0 && secret.carries(current.n) {
                        self.breaks(broken::DURABLE);
                    }
                    self.put_secret(at, Secret::default());
                }
                self.process().seen.learned.old_secrets[usize::from(at)] = answer(out);
            }
            Act::Release(at) => self.release(at, out),
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

    fn create(&mut self, n: Nonce, out: Outcome) {
        if takes_effect(out) {
            self.land(n);
        } else if out == Outcome::Late {
            self.world.inflight |= bit(n);
        }
        self.wrote = true;
        let repost = self.is(Mutant::Repost);
        let early = self.is(Mutant::SuccessBeforeSecret);
        let learned = &mut self.process().seen.learned;
        learned.created = match out {
            Outcome::Ok => Known::Yes,
            Outcome::Failed => Known::No,
            _ if repost => Known::Not,
            _ => Known::Unknown,
        };
        if early && out == Outcome::Ok {
            self.write_object(|object| {
                let pending = object.status.pending;
                let status = &mut object.status;
                status.retiring |= bit(status.current.n);
                status.current.n = pending.n;
                status.current.spec = pending.spec;
            });
        }
    }

    /// A create call takes effect.
    pub fn land(&mut self, n: Nonce) {
        let world = &mut *self.world;
        world.inflight &= !bit(n);
        if has(world.posted, n) {
            world.broken |= broken::S2;
        }
        if !has(world.journaled, n) {
            world.broken |= broken::S1;
        }
        world.posted |= bit(n);
        world.users |= bit(n);
    }

    fn put_secret(&mut self, at: u8, secret: Secret) {
        let old = &mut self.world.secrets[usize::from(at)];
        let foreign = matches!(old.owner, Owner::Foreign | Owner::Released);
        // What belongs to an object that is gone is deleted.
        *old = if self.world.object.exists || secret.owner != Owner::Ours {
            secret
        } else {
            Secret::default()
        };
        if foreign {
            self.breaks(broken::S6);
        }
        self.world.wrote_secret(at);
        self.wrote = true;
    }

    /// Whether a write that replaces what was seen (`over`), or else that makes the Secret, is let through.
    fn may_write(&mut self, at: u8, over: bool) -> bool {
        let owner = self.world.secrets[usize::from(at)].owner;
        let process = self.process();
        if over {
            owner != Owner::Absent && process.seen.target_at == at && process.target_fresh
        } else {
            owner == Owner::Absent
        }
    }

    fn write_token(&mut self, n: Nonce, at: u8, over: bool, out: Outcome) -> Known {
        let mut may = self.may_write(at, over) || self.is(Mutant::BlindSecret) || self.is(Mutant::BlindRetry);
        may |= self.is(Mutant::AdoptForeign) && self.world.secrets[usize::from(at)].owner == Owner::Foreign;
        if takes_effect(out) && may {
            let object = self.world.object;
            if object.exists && !object.deleting && object.status.pending.n != n {
                self.breaks(broken::S13);
            }
            if self.config().groups && has(self.world.users, n) && !has(self.world.mapped, n) {
                self.breaks(broken::COMPLETE);
            }
            let secret = Secret {
                owner: Owner::Ours,
                n,
                intact: true,
                alien: false,
            };
            self.put_secret(at, secret);
            self.world.carried |= bit(n);
        }
        let carries = self.world.secrets[usize::from(at)].carries(n);
        match out {
            Outcome::Ok | Outcome::Failed if carries => Known::Yes,
            Outcome::Ok | Outcome::Failed => Known::No,
            _ => Known::Unknown,
        }
    }

    fn unstage(&mut self, n: Nonce) {
        let fenced = self.process().seen.learned.fenced == Known::Yes;
        let foreign = self.process().seen.target.owner == Owner::Foreign;
        let object = self.world.object;
        let published = self.world.secrets.iter().any(|s| s.carries(n));
        let touched = self.world.touched & touched::SECRET != 0;
        let needed =
            object.exists && !object.deleting && !touched && object.status.pending.n == n && !published;
        if needed && has(self.world.staged, n) && !fenced && !foreign {
            self.breaks(broken::DURABLE);
        }
        self.wrote |= has(self.world.staged, n);
        self.world.staged &= !bit(n);
    }

    fn fence(&mut self, at: u8, over: bool, out: Outcome) {
        if self.is(Mutant::NoFence) {
            self.process().seen.learned.fenced = Known::Yes;
            return;
        }
        let may = self.may_write(at, over);
        let blind = self.is(Mutant::BlindFence);
        if (may || blind) && takes_effect(out) {
            let mut secret = self.world.secrets[usize::from(at)];
            if secret.owner == Owner::Absent {
                secret = Secret {
                    owner: Owner::Ours,
                    ..Secret::default()
                };
            }
            if !blind || secret.owner == Owner::Ours {
                self.put_secret(at, secret);
            }
        }
        let works = (may || blind) && out == Outcome::Ok;
        let secret = self.world.secrets[usize::from(at)];
        let process = self.process();
        process.seen.learned.fenced = if works { Known::Yes } else { Known::No };
        if works && !blind {
            // The view of the current user's Secret is renewed where it looked the same.
            if process.seen.current_at == process.seen.target_at
                || process.seen.current == process.seen.target
            {
                process.seen.current = secret;
                process.seen.current_at = process.seen.target_at;
                process.current_fresh = true;
            }
            process.seen.target = secret;
            process.target_fresh = true;
        }
    }

    fn verify(&mut self, kept: Nonce, out: Outcome) {
        let learned = self.process().seen.learned;
        let in_hand = learned.created == Known::Yes && learned.compensated == Known::Not;
        let n = if in_hand { learned.ticket } else { kept };
        let accepted = has(self.world.users, n) && out != Outcome::Rejected;
        let process = self.process();
        process.seen.learned.verified = match out {
            Outcome::Ok | Outcome::Rejected if accepted => Known::Yes,
            Outcome::Ok | Outcome::Rejected => Known::No,
            _ => Known::Unknown,
        };
        process.accepted = process.seen.learned.verified == Known::Yes;
    }

    fn delete_marked(&mut self, n: Nonce, marker: Nonce, out: Outcome) {
        let ours = n == marker || self.is(Mutant::TrustIds);
        if takes_effect(out) && ours {
            if n == ALIEN {
                self.breaks(broken::S12);
            } else {
                self.delete_user(n);
            }
        }
        let learned = &mut self.process().seen.learned;
        match (n, out) {
            (ALIEN, Outcome::Ok) => learned.alien = if ours { Known::Yes } else { Known::Unknown },
            (ALIEN, _) => learned.alien = Known::No,
            (_, Outcome::Ok) => learned.deleted |= bit(n),
            _ => learned.delete_failed |= bit(n),
        }
    }

    /// We delete a user.
    fn delete_user(&mut self, n: Nonce) {
        let object = self.world.object;
        let (current, pending) = (object.status.current.n, object.status.pending.n);
        let live = object.exists && !object.deleting;
        let published = self.world.secrets.iter().any(|s| s.carries(n));
        let kept = object.exists && object.deleting && self.config().retain && current == n;
        let process = self.process();
        let seen = process.target_fresh && process.seen.target.carries(n)
            || process.current_fresh && process.seen.current.carries(n);
        if has(self.world.users, n) {
            if live && published && (current == n || pending == n || seen) || kept {
                self.breaks(broken::S3);
            }
            if live && has(object.status.retiring, n) && !has(object.status.due, n) {
                self.breaks(broken::OVERLAP);
            }
            self.wrote = true;
        }
        self.world.users &= !bit(n);
        self.world.mapped &= !bit(n);
    }

    /// Whether the Secret of this number is still as it was seen.
    fn is_fresh(&mut self, at: u8) -> bool {
        let process = self.process();
        process.seen.target_at == at && process.target_fresh
            || process.seen.current_at == at && process.current_fresh
    }

    fn delete_secret(&mut self, at: u8, out: Outcome) -> Known {
        let absent = self.world.secrets[usize::from(at)].owner == Owner::Absent;
        let may = self.is_fresh(at) || self.is(Mutant::BlindSecret);
        if may && !absent && takes_effect(out) {
            self.put_secret(at, Secret::default());
        }
        if may || absent { answer(out) } else { Known::No }
    }

    fn release(&mut self, at: u8, out: Outcome) {
        let secret = self.world.secrets[usize::from(at)];
        let may = self.is_fresh(at) && secret.owner == Owner::Ours;
        if may && takes_effect(out) {
            let owner = Owner::Released;
            self.put_secret(at, Secret { owner, ..secret });
        }
        self.process().seen.learned.released = if may { answer(out) } else { Known::No };
    }
}
