//! The permit for one create call: a turn, and a place in the hour's budget.
//!
//! The operator takes it before it writes the attempt into the journal, so that a limit that leaves no room costs no
//! write. The call takes the permit by value: no permit makes two calls. A permit that is dropped gives back its slot and its place; the
//! turn is used up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Claim, Full, Place, Purpose, share};
use super::{Caller, Permit, RateLimiter};
use crate::client::error::{Error, Kind};

/// The right to send one create call.
pub struct CreatePermit {
    limiter: Arc<RateLimiter>,
    turn: Option<Permit>,
    /// The place in the budget; `None`: it is spent.
    place: Option<Place>,
    ends: Instant,
}

impl CreatePermit {
    /// When it ends. Whatever stands between it and the call must not take longer: the slot would be idle.
    #[must_use]
    pub const fn ends(&self) -> Instant {
        self.ends
    }

    /// The turn of the call, if the call may still be sent: it has to end, after `timeout` at most, while this process is the
    /// leader for certain. The settle window relies on that. (The model's mutant `PermitOutlivesLeadership`.)
    pub(in super::super) fn redeem(
        mut self,
        route: &str,
        timeout: Duration,
    ) -> Result<Option<Permit>, Error> {
        self.limiter.paused()?;
        if Instant::now() >= self.ends {
            let text =
                "the API server took too long to record the attempt: nothing was sent, and it is tried again";
            return Err(Error::held(Kind::RateLimited(None), route, text));
        }
        self.limiter.leads(route, timeout)?;
        self.place = None;
        Ok(self.turn.take())
    }
}

impl Drop for CreatePermit {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.limiter.state().budget.give_back(&place);
        }
    }
}

impl RateLimiter {
    /// Waits for a turn, `timeout` at most, and takes a place in the hour's budget.
    pub(in super::super) async fn reserve_create(
        self: &Arc<Self>,
        route: &str,
        timeout: Duration,
        purpose: Purpose,
        caller: &Caller,
    ) -> Result<CreatePermit, Error> {
        self.waited(async {
            // Without a place a turn would be used up for nothing.
            self.room(route, caller, purpose)?;
            let turn = self.acquire_before(caller, Instant::now() + timeout).await?;
            let turn = turn.ok_or_else(|| {
                let text = "the organization's limits leave no room for a new user at the moment";
                Error::held(Kind::RateLimited(Some(timeout)), route, text)
            })?;
            self.leads(route, timeout)?;
            let (namespace, at) = (&*caller.namespace, Instant::now());
            let mut state = self.state();
            let all = state.limits.creates_per_hour;
            let claim = Claim { namespace, purpose };
            let taken = state.budget.take(claim, all, at);
            let place = taken.map_err(|full| exhausted(route, claim, all, &full))?;
            drop(state);
            Ok(CreatePermit {
                limiter: self.clone(),
                turn: Some(turn),
                place: Some(place),
                ends: at + timeout,
            })
        })
        .await
    }

    /// How long a create call would have to wait for a place at least; `None`: there is one.
    #[must_use]
    pub fn create_pause(&self, namespace: &str, purpose: Purpose) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.state();
        let pause = state
            .pause
            .as_ref()
            .map(|(_, until)| until.saturating_duration_since(now));
        let all = state.limits.creates_per_hour;
        let full = state.budget.room(Claim { namespace, purpose }, all, now).err();
        let pauses = pause.into_iter().chain(full.map(|full| full.after));
        pauses.max().filter(|pause| !pause.is_zero())
    }

    fn room(&self, route: &str, caller: &Caller, purpose: Purpose) -> Result<(), Error> {
        let namespace = &*caller.namespace;
        let claim = Claim { namespace, purpose };
        let mut state = self.state();
        let all = state.limits.creates_per_hour;
        let room = state.budget.room(claim, all, Instant::now());
        room.map_err(|full| exhausted(route, claim, all, &full))
    }

    /// Whether this process is the leader for longer than `timeout`.
    fn leads(&self, route: &str, timeout: Duration) -> Result<(), Error> {
        if (self.hooks.margin)() > timeout {
            return Ok(());
        }
        let text = "this controller may not be the leader for long enough; another one goes on";
        Err(Error::held(Kind::NotLeading, route, text))
    }
}

/// There is no place for this claim, of `all` an hour.
fn exhausted(route: &str, claim: Claim<'_>, all: usize, full: &Full) -> Error {
    let seconds = u32::try_from(full.after.as_secs() + 1).unwrap_or(u32::MAX);
    let (whose, its, half, of) = if full.of_namespace {
        let whose = format!(" for namespace {}", claim.namespace);
        (whose, "its share of ", "half of ", share(all))
    } else {
        (String::new(), "", "", all)
    };
    let kept = match claim.purpose {
        Purpose::First => "",
        Purpose::Replacement => "; a tenth is kept for new users and revocations",
        Purpose::Revocation => ", with the tenth more that is kept for revocations",
    };
    let most = claim.purpose.most(of);
    let text = format!(
        "{most} users were made{whose} within an hour, all that {its}limits.createsPerHour ({half}{all}) allows{kept}"
    );
    Error::held(Kind::BudgetExhausted(seconds), route, &text)
}

#[cfg(test)]
mod tests;
