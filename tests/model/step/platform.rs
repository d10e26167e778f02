//! Steps that ask the platform.

use super::{Hand, answer, broken, takes_effect};
use crate::act::{Act, Outcome};
use crate::mutant::Mutant;
use crate::world::{ALIEN, Kept, Known, Nonce, Owner, Permit, Read, bit, has};

impl Hand<'_> {
    /// Steps that ask the platform.
    pub(super) fn on_platform(&mut self, act: Act, out: Outcome) {
        match act {
            Act::Reserve => {
                let process = self.process();
                process.seen.learned.reserved = answer(out);
                if out == Outcome::Ok {
                    process.permit = Permit::Held;
                }
            }
            Act::Create(n) => self.create(n, out),
            Act::Compensate(n) => {
                if takes_effect(out) {
                    self.delete_user(n);
                }
                self.process().seen.learned.compensated = answer(out);
            }
            Act::ReadUser(n) => {
                let read = match out {
                    Outcome::Ok if n == ALIEN => Read::Alien,
                    Outcome::Ok if has(self.world.users, n) => Read::User(n, self.world.groups(n)),
                    Outcome::Ok => Read::Gone,
                    _ => Read::Failed,
                };
                let learned = &mut self.process().seen.learned;
                (learned.read, learned.read_of) = (read, n);
            }
            Act::PutGroups(n, version) => {
                let works = takes_effect(out) && has(self.world.users, n);
                if works {
                    self.world.unmap(n);
                    self.world.mapped[usize::from(version)] |= bit(n);
                    self.wrote = true;
                }
                let learned = &mut self.process().seen.learned;
                learned.groups = if works { answer(out) } else { Known::No };
                learned.groups_of = n;
            }
            Act::VerifyPublished(at) => {
                let secret = self.world.secrets[usize::from(at)];
                let n = if secret.owner == Owner::Ours && secret.intact {
                    secret.n
                } else {
                    0
                };
                self.verify(n, Kept::Published(at), out);
            }
            Act::VerifyStaged(nonce) => {
                let n = if has(self.world.staged, nonce) { nonce } else { 0 };
                self.verify(n, Kept::Staged(nonce), out);
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
            _ => {}
        }
    }

    fn create(&mut self, n: Nonce, out: Outcome) {
        let permit = self.process().permit;
        if permit == Permit::Ended && !self.is(Mutant::PermitOutlivesLeadership) {
            // The call is not sent.
            self.process().seen.learned.created = Known::No;
            return;
        }
        if permit == Permit::None {
            self.breaks(broken::S19);
        }
        let again = self.is(Mutant::PermitUsedTwice);
        if !again {
            self.process().permit = Permit::None;
        }
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
            _ if repost || again => Known::Not,
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

    fn verify(&mut self, kept: Nonce, place: Kept, out: Outcome) {
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
        process.seen.learned.verified_of = place;
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
    pub(super) fn delete_user(&mut self, n: Nonce) {
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
        self.world.unmap(n);
    }
}
