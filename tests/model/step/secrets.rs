//! Steps that read and write Secrets, and when the API server lets them.

use super::{Hand, answer, broken, takes_effect};
use crate::act::{Act, Outcome};
use crate::mutant::Mutant;
use crate::world::{Known, Nonce, Owner, Read, Secret, bit, has, touched};

impl Hand<'_> {
    /// Steps that read and write Secrets.
    pub(super) fn on_secrets(&mut self, act: Act, out: Outcome) {
        match act {
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
                let barred = has(self.world.barred, n);
                if takes_effect(out) && !barred {
                    self.world.staged |= bit(n);
                    self.wrote = true;
                }
                let learned = &mut self.process().seen.learned;
                learned.staged = match out {
                    Outcome::Ok if !barred => Known::Yes,
                    Outcome::Ok | Outcome::Failed => Known::No,
                    _ => Known::Unknown,
                };
                if out == Outcome::Ok && !barred {
                    self.process().seen.staged |= bit(n);
                }
            }
            Act::Bar(n) => {
                let known = self.bar(n, out);
                self.process().seen.learned.barred = known;
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
                let learned = &mut self.process().seen.learned;
                let known = match out {
                    Outcome::Ok => &mut learned.old_secrets,
                    _ => &mut learned.old_secrets_failed,
                };
                known[usize::from(at)] |= bit(n);
            }
            Act::Record(n) => {
                if takes_effect(out) {
                    self.world.recorded |= bit(n);
                    self.wrote = true;
                }
                self.process().seen.learned.recorded = answer(out);
            }
            Act::Release(at) => self.release(at, out),
            _ => {}
        }
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
            if self.config().groups && has(self.world.users, n) && self.world.groups(n) == 0 {
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

    /// Something is put where a token would be staged, if nothing is there.
    fn bar(&mut self, n: Nonce, out: Outcome) -> Known {
        if self.is(Mutant::NoBar) {
            return Known::Yes;
        }
        let may = !has(self.world.staged | self.world.barred, n);
        if may && takes_effect(out) {
            self.world.barred |= bit(n);
            self.wrote = true;
        }
        if may || self.is(Mutant::BlindBar) {
            answer(out)
        } else {
            Known::No
        }
    }

    fn unstage(&mut self, n: Nonce) {
        let seen = &self.process().seen;
        let pending = seen.object.status.pending;
        let given_up = pending.old
            || pending.spec != seen.object.spec
            || (seen.learned.read, seen.learned.read_of) == (Read::Gone, n);
        let (staged, barred) = (seen.staged & bit(n), seen.barred & bit(n));
        let object = self.world.object;
        let published = self.world.secrets.iter().any(|s| s.carries(n));
        let touched = self.world.touched & touched::SECRET != 0;
        let needed =
            object.exists && !object.deleting && !touched && object.status.pending.n == n && !published;
        if needed && has(self.world.staged, n) && !given_up {
            self.breaks(broken::DURABLE);
        }
        // Only what was seen is deleted.
        self.wrote |= self.world.staged & staged | self.world.barred & barred != 0;
        self.world.staged &= !staged;
        self.world.barred &= !barred;
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
