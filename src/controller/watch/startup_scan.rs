//! The startup scan: after a start, two lists in place of two reads of each user that is up to date.
//!
//! After a start every user has to be reconciled, and nearly always there is nothing to do. To read each user and its Secret
//! costs the API server more than ten times what the two lists cost that show the same. Therefore users that are up to date
//! await these lists, and the plan decides from them. Users with nothing to do are skipped until a watch shows a change; all
//! others are reconciled as usual. The scan never writes anything.
//!
//! Every tenant may label large Secrets as the operator's: a page is read up to a number of bytes, and of each Secret only
//! the needed parts are kept.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::AsyncReadExt as _;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::{MANAGED_BY_LABEL, MANAGER, ProgrammaticUser};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::reconcile::execute::{Executor, changed_status};
use crate::controller::reconcile::observe::{Namespaces, observe_listed, only_secret_name};
use crate::controller::reconcile::panics::catch_panic;
use crate::controller::reconcile::secret::{own, owner};
use crate::controller::schedule::triggers::UserRef;
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::readable::Readable;
use crate::controller::watch::streams::Cache;
use crate::plan;
use crate::plan::{Decision, Observed, OwnSecret, Requeue, Step};

/// Objects of a page at most. For each page the API server reads the keys of all.
const PAGE: u32 = 500;
/// Bytes of a page at most: one that has more is asked for again with fewer objects. A single object has less than two MiB.
const LARGEST: usize = 8 << 20;
/// Users without their Secrets, and Secrets without their users, that are kept until the other list shows them.
const MOST: usize = 2000;
/// How long the next thing is waited for, be it a page or an event of the watch of the Secrets. Users whose lists do
/// not come are reconciled without them.
const PATIENCE: Duration = Duration::from_secs(30);
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

fn uid(user: &ProgrammaticUser) -> &str {
    user.metadata.uid.as_deref().unwrap_or_default()
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

/// The pages of a list, one after the other, in the order of namespaces and names.
struct Pages<K> {
    client: Client,
    path: String,
    params: ListParams,
    more: bool,
    /// Namespace and name of the last object.
    last: String,
    kind: PhantomData<K>,
}

impl<K> Pages<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned,
{
    fn new(client: &Client, namespace: Option<&str>) -> Self {
        Self {
            client: client.clone(),
            path: K::url_path(&(), namespace),
            params: ListParams::default().limit(PAGE),
            more: true,
            last: String::new(),
            kind: PhantomData,
        }
    }

    async fn next(&mut self, doing: &'static str) -> Result<Vec<K>, Error> {
        let page = loop {
            let page = timeout(PATIENCE, self.read()).await;
            let page = page.map_err(|_| Error::Kube(doing, "no answer".to_owned()))?;
            if let Some(page) = page.map_err(Error::from_kube(doing))? {
                break page;
            }
            match self.params.limit {
                Some(limit) if limit > 1 => self.params.limit = Some(limit.div_ceil(8)),
                _ => return Err(Error::Kube(doing, "one object is too large".to_owned())),
            }
        };
        if let Some(last) = page.items.last() {
            self.last = format!("{}/{}", last.namespace().unwrap_or_default(), last.name_any());
        }
        self.params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        self.more = self.params.continue_token.is_some();
        Ok(page.items)
    }

    /// One page; `None`: it has too many bytes. Never what the library's own list would do with one that it cannot read,
    /// which is to write it into the log.
    async fn read(&mut self) -> kube::Result<Option<ObjectList<K>>> {
        let request = Request::new(&self.path).list(&self.params);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let mut bytes = Vec::new();
        let reply = pin!(self.client.request_stream(request).await?);
        // The largest page and one byte: what lies beyond is not asked for.
        let mut reply = reply.take(LARGEST as u64 + 1);
        reply
            .read_to_end(&mut bytes)
            .await
            .map_err(kube::Error::ReadEvents)?;
        if bytes.len() > LARGEST {
            return Ok(None);
        }
        if bytes.len() < LARGEST / 4 {
            self.params.limit = self.params.limit.map(|limit| PAGE.min(limit * 2));
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(kube::Error::SerdeError)
    }
}

/// The user's UID, and namespace and name of the Secret.
type Key = (String, String, String);

/// Users and Secrets that still miss each other.
#[derive(Default)]
struct JoinBuffer {
    users: HashMap<Key, ProgrammaticUser>,
    secrets: HashMap<Key, OwnSecret>,
}

impl JoinBuffer {
    /// The user with its Secret, if that was shown.
    fn user(&mut self, user: ProgrammaticUser) -> Option<(ProgrammaticUser, OwnSecret)> {
        let namespace = user.namespace().unwrap_or_default();
        let key = (uid(&user).to_owned(), namespace, only_secret_name(&user)?);
        if let Some(secret) = self.secrets.remove(&key) {
            return Some((user, secret));
        }
        insert_bounded(&mut self.users, key, user);
        None
    }

    /// What counts of the Secret with the user that owns it, if that was shown.
    fn secret(&mut self, owner: &str, secret: &Secret) -> Option<(ProgrammaticUser, OwnSecret)> {
        let namespace = secret.namespace().unwrap_or_default();
        let key = (owner.to_owned(), namespace, secret.name_any());
        let secret = own(secret);
        if let Some(user) = self.users.remove(&key) {
            return Some((user, secret));
        }
        insert_bounded(&mut self.secrets, key, secret);
        None
    }
}

/// With many names that are not alike, those that came first are given up.
fn insert_bounded<K: Hash + Eq, V>(all: &mut HashMap<K, V>, key: K, value: V) {
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(key, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(n: usize, secret: Option<&str>) -> ProgrammaticUser {
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": n.to_string(), "namespace": "a", "uid": format!("uid-{n}")},
            "spec": {"className": "c", "scope": "Account", "secret": {"name": secret}},
        }))
        .unwrap()
    }

    fn secret(namespace: &str, name: &str) -> Secret {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}})).unwrap()
    }

    #[test]
    fn a_user_finds_the_secret_of_its_name_that_it_owns_whichever_comes_first() {
        let mut pairs = JoinBuffer::default();
        assert!(pairs.user(user(1, None)).is_none());
        assert!(
            pairs.secret("uid-2", &secret("a", "1")).is_none(),
            "another one's"
        );
        assert!(
            pairs.secret("uid-1", &secret("a", "old")).is_none(),
            "of another name"
        );
        assert!(pairs.secret("uid-1", &secret("b", "1")).is_none(), "elsewhere");
        let (found, with) = pairs.secret("uid-1", &secret("a", "1")).unwrap();
        assert_eq!((found.name_any(), with.name), ("1".to_owned(), "1".to_owned()));
        assert!(pairs.secret("uid-3", &secret("a", "other")).is_none());
        assert!(pairs.user(user(3, Some("other"))).is_some());
    }

    #[test]
    fn what_finds_nothing_is_given_up_before_it_is_too_much() {
        let mut pairs = JoinBuffer::default();
        for n in 0..3 * MOST {
            assert!(pairs.user(user(n, None)).is_none());
            assert!(pairs.secret(&format!("uid-{n}"), &secret("a", "other")).is_none());
            assert!(pairs.users.len() <= MOST && pairs.secrets.len() <= MOST);
        }
        let last = 3 * MOST - 1;
        assert!(
            pairs
                .secret(&format!("uid-{last}"), &secret("a", &last.to_string()))
                .is_some()
        );
    }
}
