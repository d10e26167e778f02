//! One plan from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::json;

use super::column::Column;
use super::flow::{End, Flow};
use super::history::History;
use super::oracle;
use super::plan::Plan;
use super::point::Point;
use super::state::{NAME, Wanted};
use crate::support::canary;
use crate::support::proxy::{Act, Asked, Entry, Fault, Proxy, digest};
use crate::support::wait::{SOON, eventually};
use crate::support::{Operator, World};

/// Longer than a settle window, after which what cannot be known for certain is given up.
const PATIENCE: Duration = Duration::from_mins(2);

/// A plan's world while it runs.
pub struct Stage {
    pub plan: Plan,
    pub world: World,
    pub history: History,
    pub wanted: Wanted,
    pub second: Option<(Arc<Operator>, Proxy)>,
}

impl Stage {
    /// A world with a foreign Secret and a foreign user in it.
    pub async fn new(index: usize, plan: Plan) -> Result<Self, String> {
        let mut world = World::builder(&format!("f{index}"))
            .proxied()
            .controller_stopped()
            .controller_flags(&super::flags::FAST)
            .drift(plan.drift());
        if plan.flow == Flow::Restart {
            world = world.restarts_consumers();
        }
        let world = world.start().await;
        let history = History::start(&world).await?;
        let wanted = Wanted::prepare(&world, plan.flow).await?;
        Ok(Self {
            plan,
            world,
            history,
            wanted,
            second: None,
        })
    }

    /// Lets it happen; afterwards all is as it has to be, or the error says what is not.
    pub async fn play(&mut self) -> Result<(), String> {
        let flow = self.plan.flow;
        if flow.begins_ready() {
            self.apply().await?;
            self.world.controller().resume().await?;
            self.reach(End::Ready, true).await?;
            self.wanted.remember(&self.world).await?;
        }
        let base = flow.base().map(|(point, act)| self.arm(point, act, None));
        match (flow, &base) {
            (Flow::Unanswered | Flow::Refused, _) | (_, None) => {}
            (Flow::HalfDeleted, Some(base)) => {
                self.world.delete(NAME).await;
                self.happens("the first fault", base).await?;
            }
            (Flow::RotateLost | Flow::RotateStaged | Flow::RotatePublished, Some(base)) => {
                self.wanted.rotate(&self.world).await?;
                self.happens("the first fault", base).await?;
            }
            (_, Some(base)) => {
                self.apply().await?;
                self.world.controller().launch().await?;
                self.happens("the first fault", base).await?;
            }
        }
        if matches!(flow, Flow::Interrupted | Flow::Withdrawn) {
            self.world.delete(NAME).await;
        }
        if flow == Flow::Taken {
            self.wanted.take_secret(&self.world).await?;
        }
        self.strike(base.as_ref()).await?;
        if let Some(base) = &base
            && !base.fired.is_set()
        {
            return Err("the first fault did not happen".to_owned());
        }
        self.reach(self.plan.end(), false).await
    }

    /// What sets the flow going, with all faults armed.
    async fn trigger(&self, base: Option<&Arc<Fault>>) -> Result<(), String> {
        match self.plan.flow {
            Flow::Create | Flow::Mapped | Flow::Unanswered | Flow::Refused => {
                self.apply().await?;
                self.world.controller().launch().await
            }
            Flow::Regrant => self.wanted.regrant(&self.world).await,
            Flow::Rotate | Flow::Restart => self.wanted.rotate(&self.world).await,
            Flow::Delete | Flow::Retain => {
                self.world.delete(NAME).await;
                Ok(())
            }
            Flow::Taken => {
                if let Some(base) = base {
                    base.released.set();
                }
                Ok(())
            }
            Flow::Lost
            | Flow::Committed
            | Flow::Interrupted
            | Flow::Withdrawn
            | Flow::HalfDeleted
            | Flow::RotateLost
            | Flow::RotateStaged
            | Flow::RotatePublished => self.world.controller().launch().await,
        }
    }

    async fn strike(&mut self, base: Option<&Arc<Fault>>) -> Result<(), String> {
        let (column, Some(point)) = (self.plan.column, self.plan.point) else {
            self.trigger(base).await?;
            return match base {
                Some(base) => self.happens("the first fault", base).await,
                None => Ok(()),
            };
        };
        if let Some(act) = column.act() {
            let fault = self.arm(point, act, base);
            self.trigger(base).await?;
            self.happens("the fault", &fault).await?;
            if column.is_crash() {
                self.world.controller().resume().await?;
            }
            return Ok(());
        }
        if column == Column::Stale {
            return self.strike_stale(point, base).await;
        }
        let held = self.arm(point, Act::Hold, base);
        let after = held.clone();
        let listed = self.world.proxies().platform.arm(Act::Note, move |seen| {
            after.given_up.is_set() && Point::List.matches(seen, "")
        });
        self.trigger(base).await?;
        self.happens("the fault", &held).await?;
        match column {
            Column::Late => in_time("the client to give up", held.given_up.wait()).await?,
            Column::LateListed => self.happens("a list of the users", &listed).await?,
            _ => self.lead_twice().await?,
        }
        if column == Column::SecondLeaderEnds {
            self.reach(self.plan.flow.end(), false).await?;
        }
        held.released.set();
        in_time("the held request to end", held.over.wait()).await
    }

    /// Killed before the write; then its successor reads what was there before.
    async fn strike_stale(&self, point: Point, base: Option<&Arc<Fault>>) -> Result<(), String> {
        let killed = self.arm(point, Act::KillBefore, base);
        self.trigger(base).await?;
        self.happens("the crash before the write", &killed).await?;
        let api = &self.world.proxies().api;
        let stale = api.arm(Act::Stale, |seen| {
            seen.verb == "get" && seen.resource == "programmaticusers" && seen.name == NAME
        });
        let controller = self.world.controller();
        controller.resume().await?;
        self.happens("the stale read", &stale).await?;
        reconciled(controller).await?;
        // A write over the older version is refused, and then looked at again. Where nothing was to be written there
        // is nothing to tell that the version was older but the next reconcile.
        controller.restart().await;
        Ok(())
    }

    /// A second controller, which believes that it leads alone, until its first reconcile of the user has ended.
    async fn lead_twice(&mut self) -> Result<(), String> {
        let flags = super::flags::second(self.plan.flow);
        let (operator, proxy) = self.world.second_controller_proxied("second", &flags).await;
        let operator = Arc::new(operator);
        self.second = Some((operator.clone(), proxy));
        operator.resume().await?;
        reconciled(&operator).await
    }

    /// A fault that strikes once `first` has.
    fn arm(&self, point: Point, act: Act, first: Option<&Arc<Fault>>) -> Arc<Fault> {
        let proxies = self.world.proxies();
        let proxy = if point.is_platform() {
            &proxies.platform
        } else {
            &proxies.api
        };
        let namespace = self.world.namespace().to_owned();
        let mut first: Vec<_> = first.cloned().into_iter().collect();
        if point == Point::List {
            // The organization's own listing is another.
            let here = namespace.clone();
            first.push(
                proxies
                    .api
                    .arm(Act::Note, move |seen| Point::Abandon.matches(seen, &here)),
            );
        }
        proxy.arm_nth(act, 0, 1, move |seen| {
            first.iter().all(|first| first.fired.is_set()) && point.matches(seen, &namespace)
        })
    }

    /// A fault that does not happen proves nothing. A controller that lost its Lease on a busy machine is started again.
    async fn happens(&self, what: &str, fault: &Fault) -> Result<(), String> {
        let controller = self.world.controller();
        eventually(what, PATIENCE, async || {
            if fault.fired.is_set() {
                return Ok(());
            }
            if controller.has_ended_by_itself().await {
                controller.launch().await?;
            }
            Err("it has not".to_owned())
        })
        .await
        .map_err(|_| format!("{what} never happened: this plan proves nothing"))
    }

    /// Applies the user and changes it once, with a look through the proxy in between: then there is an older version
    /// to be read.
    async fn apply(&self) -> Result<(), String> {
        self.wanted.user(&self.world).try_apply().await?;
        let api = &self.world.proxies().api;
        let path = format!(
            "{}/apis/programmatic-users.io/v1alpha1/namespaces/{}/programmaticusers/{NAME}",
            api.url(),
            self.world.namespace()
        );
        let seen = reqwest::get(path).await.map_err(|e| e.to_string())?;
        seen.bytes().await.map_err(|e| e.to_string())?;
        let touch = json!({"metadata": {"annotations": {"tests/touched": "yes"}}});
        self.world.change(NAME, touch).await
    }

    /// Waits until all is as it has to be at this end.
    async fn reach(&self, end: End, first: bool) -> Result<(), String> {
        let what = match end {
            End::Ready => "one user, its token in the Secret, and Ready",
            End::Gone => "nothing to be left",
            End::Kept => "no object, and a user that is recorded",
            End::Reported => "Ready, and an unknown user reported",
            End::Conflict => "nothing to be made, and the conflict to be reported",
        };
        eventually(what, PATIENCE, async || {
            keep_running(self.world.controller()).await?;
            self.wanted.holds(&self.world, end, first).await
        })
        .await
    }

    /// Ends all controllers in order, and looks once more: nothing may have been on its way.
    pub async fn settle(&mut self) -> Result<(), String> {
        let first = self.world.controller();
        let second = self.second.as_ref().map(|(operator, _)| operator.clone());
        let stop: Vec<BoxFuture<()>> = match &second {
            Some(second) => vec![Box::pin(first.stop()), Box::pin(second.stop())],
            None => vec![Box::pin(first.stop())],
        };
        futures::future::join_all(stop).await;
        self.wanted.holds(&self.world, self.plan.end(), false).await
    }

    /// What every fault-free run of a flow has to write, in a fixed order.
    pub fn writes(&self) -> Vec<String> {
        let proxies = self.world.proxies();
        let here = self.world.namespace();
        let api = proxies.api.trace().into_iter();
        let ours = api.filter(|e| {
            let staged = e.seen.resource == "secrets" && e.seen.name != "programmatic-users-instance";
            e.seen.is_write() && (e.seen.namespace == here || staged)
        });
        // While pods come and go there is now this and now that to tell of them.
        let restarts = self.plan.flow == Flow::Restart;
        let tells = |e: &Entry| {
            e.seen.resource == "events"
                || e.seen.resource == "programmaticusers/status" && e.seen.changes.is_empty()
        };
        let ours = ours.filter(|e| !(restarts && tells(e)));
        // The reconcile and the sweep may both delete what was staged: the second finds nothing.
        let ours = ours.filter(|e| !(e.seen.verb == "delete" && e.outcome == "404"));
        let platform = proxies.platform.trace().into_iter().filter(|e| e.seen.is_write());
        let mut writes: Vec<String> = ours.chain(platform).map(|e| e.seen.kind()).collect();
        writes.sort();
        writes
    }

    /// All that went through the proxies, and the last lines of the controllers.
    pub fn tell(&self) -> String {
        let proxies = self.world.proxies();
        let mut sources = vec![("api", &proxies.api), ("platform", &proxies.platform)];
        if let Some((_, proxy)) = &self.second {
            sources.push(("second", proxy));
        }
        let first = proxies.api.began();
        let mut lines = Vec::new();
        for (who, proxy) in sources {
            let shift = proxy.began().saturating_duration_since(first);
            lines.extend(proxy.trace().into_iter().map(|mut entry| {
                entry.at += shift;
                (entry.at, entry.describe(who))
            }));
        }
        lines.sort();
        let mut text: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        text.push(format!("--- controller ({})", self.world.dir().display()));
        text.push(self.world.controller().log_tail(40));
        if let Some((second, _)) = &self.second {
            text.push("--- second controller".to_owned());
            text.push(second.log_tail(40));
        }
        text.join("\n")
    }
}

/// As a kubelet does: a controller that lost its Lease ends by itself.
async fn keep_running(controller: &Operator) -> Result<(), String> {
    if controller.id().await.is_none() {
        controller.launch().await?;
    }
    Ok(())
}

async fn in_time(what: &str, event: impl Future<Output = ()>) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, event)
        .await
        .map_err(|_| format!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// Waits until a reconcile of a user has ended in this process.
async fn reconciled(controller: &Operator) -> Result<(), String> {
    eventually("a reconcile to end", SOON, async || {
        keep_running(controller).await?;
        let (_, metrics) = controller.probe("/metrics").await?;
        let ended = metrics.lines().any(|line| {
            line.starts_with("programmatic_users_reconciles_total")
                && line.contains("kind=\"ProgrammaticUser\"")
                && !line.ends_with(" 0")
        });
        if ended { Ok(()) } else { Err("none has".to_owned()) }
    })
    .await
}

impl Stage {
    /// Digests of all tokens that the platform handed out.
    pub fn tokens(&self) -> Vec<String> {
        let ledger = self.world.proxies().platform.ledger();
        let made = ledger.into_iter().filter_map(|asked| match asked {
            Asked::Post(posted) => posted.made,
            _ => None,
        });
        made.map(|(_, token)| token).collect()
    }

    /// Every invariant that does not hold.
    pub async fn violations(&self) -> Vec<String> {
        let ledger = self.world.proxies().platform.ledger();
        let mut found = oracle::violations(&self.history, NAME, &ledger);
        let tokens = self.tokens();
        if tokens.is_empty() {
            found.push("no token was handed out: this plan proves nothing".to_owned());
        }
        let mut logs = self.world.controller().log();
        if let Some((second, _)) = &self.second {
            logs.push_str(&second.log());
        }
        logs.push_str(&serde_json::to_string(&self.world.events(NAME).await).unwrap_or_default());
        logs.push_str(
            &serde_json::to_string(&self.world.users().get_opt(NAME).await.ok().flatten())
                .unwrap_or_default(),
        );
        if canary::lookalikes(&logs).any(|text| tokens.contains(&digest(text.as_bytes()))) {
            found.push("S10: a token is in a log, an Event or the object".to_owned());
        }
        found
    }
}
