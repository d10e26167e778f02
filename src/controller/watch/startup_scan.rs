//! The startup scan: after a start, two lists in place of two reads of each user that is up to date.
//!
//! After a start every user has to be reconciled, and nearly always there is nothing to do. To read each user and its Secret
//! costs the API server more than ten times what the two lists cost that show the same. Therefore users that are up to date
//! await these lists, and the plan decides from them. Users with nothing to do are skipped until a watch shows a change; all
//! others are reconciled as usual. The scan never writes anything.
//!
//! Every tenant may label large Secrets as the operator's: a page is read up to a number of bytes, and of each Secret only
//! the needed parts are kept.

mod join_buffer;
mod pages;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::{MANAGED_BY_LABEL, MANAGER, ProgrammaticUser};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::reconcile::execute::{Executor, changed_status};
use crate::controller::reconcile::observe::{Namespaces, observe_listed};
use crate::controller::reconcile::panics::catch_panic;
use crate::controller::reconcile::secret::owner;
use crate::controller::schedule::triggers::UserRef;
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::readable::Readable;
use crate::controller::watch::streams::Cache;
use crate::plan;
use crate::plan::{Decision, Observed, OwnSecret, Requeue, Step};

use join_buffer::{JoinBuffer, uid};
use pages::{PATIENCE, Pages};

/// How long all of it may take. Etcd does not keep what a list began with for much longer.
const ALL: Duration = Duration::from_mins(5);
/// How long one platform is waited for, and how long all that do not answer: users of other organizations wait meanwhile.
const ANSWERS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// A watched namespace, or all: its users, and what changes with each of its Secrets that their watch shows first, and
/// becomes true after the last one.
pub(in crate::controller) struct Scope {
    pub(in crate::controller) namespace: Option<String>,
    pub(in crate::controller) users: Cache<CachedUser>,
    pub(in crate::controller) watched: watch::Receiver<bool>,
}

/// Scans the users of all scopes that are up to date.
pub(in crate::controller) async fn scan(context: Arc<Context>, scopes: Vec<Scope>) {
    join_all(scopes.into_iter().map(|scope| scan_scope(&context, scope))).await;
    context.objects.end_scan();
}

async fn scan_scope(context: &Context, scope: Scope) {
    let users = scope.users.clone();
    if !users.filled().await || context.synced().await.is_err() {
        return;
    }
    let begun = Instant::now();
    let all = users.state();
    let waiting = all
        .iter()
        .filter(|u| context.objects.awaits_scan(u.uid_ref()))
        .count();
    drop(all);
    if waiting == 0 {
        return;
    }
    let looked = timeout(ALL, Box::pin(scan_lists(context, scope))).await;
    match looked.unwrap_or_else(|_| Err(Error::Kube("list all users", "it took too long".to_owned()))) {
        Ok(at_rest) => tracing::info!(
            users = waiting,
            at_rest,
            seconds = begun.elapsed().as_secs_f64(),
            "users that are up to date were checked by the startup scan"
        ),
        Err(error) => {
            tracing::warn!(%error, "users that are up to date are reconciled one by one: the startup scan failed");
        }
    }
    for user in users.state() {
        if context.objects.release(user.uid_ref()) {
            context.triggers.call(&UserRef::from_obj(&*user));
        }
    }
}

/// How many have nothing to do.
async fn scan_lists(context: &Context, mut scope: Scope) -> Result<usize, Error> {
    // Users are called when workloads are found that read their Secrets, but those to whom this comes.
    let workloads = timeout(
        PATIENCE,
        context.workload_index.filled(scope.namespace.as_deref()),
    )
    .await;
    workloads.map_err(|_| Error::Kube("watch the workloads", "no list has come".to_owned()))?;
    while !*scope.watched.borrow_and_update() {
        let more = timeout(PATIENCE, scope.watched.changed()).await;
        if !more.is_ok_and(|more| more.is_ok()) {
            return Err(Error::Kube("watch the Secrets", "no list has come".to_owned()));
        }
    }
    let (client, namespace) = (&context.client, scope.namespace.as_deref());
    let mut users = Pages::<Readable>::new(client, namespace);
    let mut secrets = Pages::<Secret>::new(client, namespace);
    secrets.params.label_selector = Some(format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let mut pairs = JoinBuffer::default();
    let mut eye = Scanner {
        context,
        // All pages of a list show the same moment: that of the users is before that of the Secrets.
        asked: Instant::now(),
        namespaces: Namespaces::default(),
        silent: HashSet::new(),
        patience: ANSWERS.1,
        at_rest: 0,
    };
    while users.more || secrets.more {
        let mut found = Vec::new();
        if users.more && (users.last <= secrets.last || !secrets.more) {
            let page = users.next("list the ProgrammaticUsers").await?;
            let readable = page.into_iter().filter(|user| user.unreadable.is_none());
            let readable = readable.map(|Readable { mut user, .. }| {
                // Three quarters of its size.
                user.metadata.managed_fields = None;
                user
            });
            let waiting = readable.filter(|user| context.objects.awaits_scan(uid(user)));
            found.extend(waiting.filter_map(|user| pairs.user(user)));
        } else {
            let page = secrets.next("list the Secrets").await?;
            let waited_for = |owner: &&str| context.objects.awaits_scan(owner);
            let owned = page
                .iter()
                .filter_map(|s| Some((owner(s).map(|o| &*o.uid).filter(waited_for)?, s)));
            found.extend(owned.filter_map(|(owner, secret)| pairs.secret(owner, secret)));
        }
        for (user, secret) in found {
            eye.check(user, secret).await;
        }
    }
    Ok(eye.at_rest)
}

/// Checks one user after the other.
struct Scanner<'a> {
    context: &'a Context,
    /// Before the first list was.
    asked: Instant,
    namespaces: Namespaces,
    /// Organizations whose platforms did not say which accounts, policies and groups there are.
    silent: HashSet<String>,
    /// How long platforms are waited for, still.
    patience: Duration,
    /// Users that have nothing to do.
    at_rest: usize,
}

impl Scanner<'_> {
    /// The user is called in any case: what is due some day, only its reconcile can tell the controller runtime.
    async fn check(&mut self, user: ProgrammaticUser, secret: OwnSecret) {
        let uid = uid(&user).to_owned();
        let version = user.resource_version().unwrap_or_default();
        let reference = UserRef::new(&user.name_any()).within(&user.namespace().unwrap_or_default());
        let of_secret = secret.resource_version.clone();
        let objects = &self.context.objects;
        if !objects.awaits_scan(&uid) {
            // It was triggered since.
            return;
        }
        // A user on which this panics is one for a reconcile, whose panic its object hears of.
        let plan = Box::pin(catch_panic(async { Ok(self.plan(user, secret).await) }));
        let planned = timeout(PATIENCE, plan).await;
        match planned.ok().and_then(Result::ok).flatten() {
            Some(due) => self.at_rest += usize::from(objects.scanned(&uid, &version, &of_secret, due)),
            None => drop(objects.release(&uid)),
        }
        self.context.triggers.call(&reference);
    }

    /// When something is due, if there is nothing to do now. A reconcile of the user reports errors.
    async fn plan(&mut self, user: ProgrammaticUser, secret: OwnSecret) -> Option<Option<Duration>> {
        let observed = observe_listed(self.context, user, secret, self.asked, &mut self.namespaces).await;
        let mut observed = observed.ok().flatten()?;
        let organization = observed.organization.as_ref().map(|o| o.name_any())?;
        if self.silent.contains(&organization) {
            return None;
        }
        let mut next = plan::next(&observed, Timestamp::now());
        // Without the platform's time the plan does not know what is due.
        if observed.platform_now.is_none() || next == Decision::Do(Step::LookUp(false)) {
            if !self.answers(&mut observed).await {
                self.silent.insert(organization);
                return None;
            }
            next = plan::next(&observed, Timestamp::now());
        }
        let Decision::Done(rest) = next else { return None };
        let writes = rest
            .status
            .and_then(|s| changed_status(self.context, &observed, *s));
        match rest.requeue {
            _ if writes.is_some() || rest.event.is_some() => None,
            Requeue::After(span) => Some(Some(span)),
            Requeue::OnChange => Some(None),
            Requeue::Stalled(latest) => {
                let pause = self
                    .context
                    .recheck(observed.user.metadata.uid.as_deref().unwrap_or_default());
                Some(Some(latest.map_or(pause, |latest| latest.min(pause))))
            }
            // Without a step there is no permit that was refused.
            Requeue::Backoff | Requeue::Permit { .. } => None,
        }
    }

    /// Whether the platform says which accounts, policies and groups there are, and what time it is.
    async fn answers(&mut self, observed: &mut Observed) -> bool {
        let begun = Instant::now();
        let namespace = observed.user.namespace().unwrap_or_default();
        let mut hand = Executor::new(self.context, &namespace);
        let patience = ANSWERS.0.min(self.patience);
        let answer = timeout(patience, hand.execute(Step::LookUp(false), observed)).await;
        observed.platform_now = self.context.platform_time(observed.organization.as_deref());
        let answered = answer.is_ok() && observed.answers.catalog.as_ref().is_some_and(Result::is_ok);
        if !answered {
            self.patience = self.patience.saturating_sub(begun.elapsed());
        }
        answered
    }
}
