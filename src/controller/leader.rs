//! Which of several replicas works: the one that holds the Lease.
//!
//! The record is written by compare-and-swap with its resourceVersion only. Clocks of two machines are never
//! compared: whether another holder's time is over is judged by how long *this* process has seen its record
//! unchanged, and whether we still hold it by when our last successful renewal was *sent*. Since the API server got
//! that renewal later than it was sent, and others saw it later still, our time is over before theirs begins.
//!
//! The object also says how much is logged, by an annotation: all replicas read it anyway, it needs no right that they do not
//! have, and a subject that may write it may stop the operator as well.
//!
//! This keeps two from working at one time as a rule; that nothing is lost or doubled when they do all the same (a
//! process frozen in the wrong moment, two installations with different names of the Lease) is the protocol's part.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::LOG_LEVEL_ANNOTATION;
use crate::controller::error::describe;
use crate::telemetry;

/// The longest pause of a standby between two reads.
const READ_PAUSE: Duration = Duration::from_secs(2);
/// The least pause before another try.
const BREATH: Duration = Duration::from_millis(100);

/// What the rest of the process may know of the lease.
#[derive(Debug, Default)]
pub(in crate::controller) struct LeaseState {
    /// Until when it is ours for certain.
    until: Mutex<Option<Instant>>,
    /// Until when the last answer of the API server is fresh enough to call a standby healthy.
    healthy: Mutex<Option<Instant>>,
}

impl LeaseState {
    /// How long the lease is ours for certain; zero for a standby.
    pub(in crate::controller) fn time_left(&self) -> Duration {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Whether the lease is ours.
    pub(in crate::controller) fn leads(&self) -> bool {
        !self.time_left().is_zero()
    }

    /// Whether the API server answers questions about the lease.
    pub(in crate::controller) fn is_healthy(&self) -> bool {
        let healthy = *self.healthy.lock().unwrap_or_else(PoisonError::into_inner);
        healthy.is_some_and(|until| Instant::now() < until)
    }

    fn set(place: &Mutex<Option<Instant>>, until: Option<Instant>) {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// A record as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// Empty: the lease is free.
    holder: String,
    version: String,
    /// For how long its holder wants to be believed.
    duration: Duration,
    /// When this process first saw it in this form.
    changed: Instant,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum LeaseAction {
    /// Write the record anew; there is none.
    Create,
    /// Put our name into a lease that is free, or whose holder's time is over.
    Acquire,
    /// Write it again.
    Renew,
    /// Read it again after this.
    Wait(Duration),
    /// It was ours and is not any more.
    Lost,
}

/// Decides, from the record last seen and, if we have held it, until when that is certain.
fn decide(record: Option<&Record>, me: &str, ours_until: Option<Instant>, now: Instant) -> LeaseAction {
    let Some(until) = ours_until else {
        return match record {
            None => LeaseAction::Create,
            Some(r) if r.holder.is_empty() => LeaseAction::Acquire,
            Some(r) => match r.duration.checked_sub(now.saturating_duration_since(r.changed)) {
                Some(left) if !left.is_zero() => LeaseAction::Wait(left),
                _ => LeaseAction::Acquire,
            },
        };
    };
    if now >= until {
        return LeaseAction::Lost;
    }
    match record {
        // It was deleted. Making it anew is a compare-and-swap, too: of two that do, one fails.
        None => LeaseAction::Create,
        Some(r) if r.holder == me => LeaseAction::Renew,
        Some(_) => LeaseAction::Lost,
    }
}

/// A candidate, and then the leader.
pub(in crate::controller) struct Election {
    api: Api<Lease>,
    name: String,
    /// Unique to this process, so that no process takes an earlier one's record for its own.
    me: String,
    duration: Duration,
    /// Pause between renewals.
    every: Duration,
    object: Option<Lease>,
    record: Option<Record>,
    standing: Arc<LeaseState>,
}

impl Election {
    /// `work` is what has to fit into the time that is certain: renewals come so often that it does at any moment.
    pub(in crate::controller) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: String,
        duration: Duration,
        work: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            duration,
            every: duration.saturating_sub(work).min(duration) / 3,
            object: None,
            record: None,
            standing: Arc::default(),
        }
    }

    /// For those who want to know.
    pub(in crate::controller) fn state(&self) -> Arc<LeaseState> {
        self.standing.clone()
    }

    /// Waits until the lease is ours.
    pub(in crate::controller) async fn acquire(&mut self) {
        let mut reported = String::new();
        loop {
            if let Err(error) = self.observe().await {
                tracing::warn!(
                    lease = self.name,
                    error,
                    "cannot look at the lease; it is tried again"
                );
                sleep(READ_PAUSE).await;
                continue;
            }
            let pause = match decide(self.record.as_ref(), &self.me, None, Instant::now()) {
                LeaseAction::Wait(left) => {
                    if let Some(record) = self.record.as_ref().filter(|r| r.holder != reported) {
                        reported.clone_from(&record.holder);
                        tracing::info!(lease = self.name, holder = reported, "standing by");
                    }
                    left.min(READ_PAUSE).min(self.duration / 4).max(BREATH)
                }
                _ => match self.write().await {
                    Ok(()) => return,
                    // Another replica was faster, or the answer was lost: read the lease again.
                    Err(error) => {
                        tracing::info!(lease = self.name, error, "the lease was not won");
                        BREATH
                    }
                },
            };
            sleep(pause).await;
        }
    }

    /// Keeps the lease until `ended`, and then gives it back if `tidy` says so, so that a standby goes on at once.
    /// An error: it is lost, and nothing may be written any more.
    pub(in crate::controller) async fn renew(
        mut self,
        ended: CancellationToken,
        tidy: CancellationToken,
    ) -> Result<(), String> {
        let mut pause = self.every;
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                () = sleep(pause) => {}
            }
            let until = *self.standing.until.lock().unwrap_or_else(PoisonError::into_inner);
            let until = until.unwrap_or_else(Instant::now);
            let wanted = decide(self.record.as_ref(), &self.me, Some(until), Instant::now());
            if wanted == LeaseAction::Lost {
                LeaseState::set(&self.standing.until, None);
                return Err(self.why());
            }
            pause = match self.write().await {
                Ok(()) => self.every,
                Err(error) => {
                    tracing::warn!(
                        lease = self.name,
                        error,
                        "the lease was not renewed; it is tried again"
                    );
                    // The write may have happened although no answer came: then the version is another one.
                    if let Err(error) = self.observe().await {
                        tracing::warn!(lease = self.name, error, "cannot look at the lease");
                    }
                    BREATH
                }
            };
        }
        LeaseState::set(&self.standing.until, None);
        if tidy.is_cancelled() {
            self.release().await;
        }
        Ok(())
    }

    fn why(&self) -> String {
        match &self.record {
            Some(r) if r.holder != self.me => format!("{} holds it now", r.holder),
            _ => format!("it could not be renewed for {} s", self.duration.as_secs()),
        }
    }

    /// No call may take longer than half of what is left, so that there is time for another.
    fn patience(&self) -> Duration {
        let left = self.standing.time_left();
        let most = if left.is_zero() { self.duration } else { left / 2 };
        most.max(BREATH)
    }

    async fn observe(&mut self) -> Result<(), String> {
        let found = match timeout(self.patience(), self.api.get_opt(&self.name)).await {
            Ok(found) => found.map_err(|e| self.advice(&e))?,
            Err(_) => return Err("no answer from the API server in time".to_owned()),
        };
        self.record(found);
        Ok(())
    }

    fn advice(&self, error: &kube::Error) -> String {
        let name = &self.name;
        match error {
            kube::Error::Api(status) if status.is_forbidden() => format!(
                "{}: give the operator the rights get, create and update on leases of coordination.k8s.io in its own namespace (Lease {name})",
                describe(error)
            ),
            _ => describe(error),
        }
    }

    /// Remembers what the API server said, and since when it says so.
    fn record(&mut self, object: Option<Lease>) {
        let now = Instant::now();
        LeaseState::set(
            &self.standing.healthy,
            Some(now + self.duration.max(READ_PAUSE * 3)),
        );
        let record = object.as_ref().map(|o| {
            let spec = o.spec.clone().unwrap_or_default();
            let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
            Record {
                holder: spec.holder_identity.unwrap_or_default(),
                version: o.metadata.resource_version.clone().unwrap_or_default(),
                duration: seconds.map_or(self.duration, Duration::from_secs),
                changed: now,
            }
        });
        let same = |old: &&Record| record.as_ref().is_some_and(|new| new.version == old.version);
        let since = self.record.as_ref().filter(same).map(|old| old.changed);
        let annotations = object.as_ref().and_then(|o| o.metadata.annotations.as_ref());
        let level = annotations.and_then(|all| all.get(LOG_LEVEL_ANNOTATION));
        telemetry::set_level(level.map(String::as_str));
        self.record = record.map(|r| Record {
            changed: since.unwrap_or(r.changed),
            ..r
        });
        self.object = object;
    }

    /// Makes or replaces the record with our name in it.
    async fn write(&mut self) -> Result<(), String> {
        let mut lease = self.object.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let old = lease.spec.take().unwrap_or_default();
        let ours = old.holder_identity.as_deref() == Some(&self.me);
        let now = MicroTime(Timestamp::now());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..old
        });
        let params = PostParams::default();
        let sent = Instant::now();
        let write = async {
            if self.object.is_some() {
                self.api.replace(&self.name, &params, &lease).await
            } else {
                self.api.create(&params, &lease).await
            }
        };
        match timeout(self.patience(), write).await {
            Ok(Ok(written)) => {
                self.record(Some(written));
                LeaseState::set(&self.standing.until, Some(sent + self.duration));
                Ok(())
            }
            Ok(Err(error)) => Err(self.advice(&error)),
            Err(_) => Err("no answer from the API server in time".to_owned()),
        }
    }

    async fn release(&mut self) {
        let Some(mut lease) = self.object.take() else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let params = PostParams::default();
        let write = self.api.replace(&self.name, &params, &lease);
        match timeout(READ_PAUSE, write).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "the lease was given back"),
            Ok(Err(error)) => {
                tracing::warn!(
                    lease = self.name,
                    error = describe(&error),
                    "the lease was not given back"
                );
            }
            Err(_) => tracing::warn!(lease = self.name, "the lease was not given back in time"),
        }
    }
}

#[cfg(test)]
mod tests;
