//! The first look at users that are settled, by two lists.
//!
//! After a start every user has to be looked at, and nearly always there is nothing to do. To read each user and its Secret
//! costs the API server some twenty times what the two lists cost that show the same. Therefore settled users wait for
//! these lists, and the plan is asked what it makes of them. Who has nothing to do is at rest until a watch shows
//! something; all others are looked at as always. Nothing is ever done because of what a list shows.
//!
//! Of the Secrets' data no more than two pages are in memory, and some of the last one that found no user.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::apply::{Hand, unwritten};
use super::context::Context;
use super::error::Error;
use super::known::Known;
use super::observe::{observe_listed, only_secret_name};
use super::streams::Cache;
use super::triggers::UserRef;
use crate::api::{MANAGED_BY_LABEL, MANAGER, ProgrammaticUser};
use crate::plan::{self, Again, Next, Step};

/// Objects of a page.
const PAGE: u32 = 250;
/// Users without their Secrets, and Secrets without their users, that are kept until the other list shows them.
const MOST: usize = 4 * PAGE as usize;
/// How long a page, or the watch of the Secrets, is waited for: whoever waits for lists that do not come is looked at
/// without them.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a platform is waited for. It answers once for all users of an organization; those of others wait for it, too.
const ANSWER: Duration = Duration::from_secs(2);

/// Looks at the settled users of a scope. `watched` becomes true when the watch of its Secrets has shown all of them.
pub(super) async fn first_look(
    context: Arc<Context>,
    scope: Option<String>,
    users: Cache<Known>,
    watched: watch::Receiver<bool>,
) {
    if !users.filled().await || context.synced().await.is_err() {
        return;
    }
    let begun = Instant::now();
    let of = context.rest.listed();
    match Box::pin(by_lists(&context, scope.as_deref(), watched)).await {
        Ok(rest) => tracing::info!(
            users = of,
            at_rest = rest,
            seconds = begun.elapsed().as_secs_f64(),
            "settled users were looked at by lists"
        ),
        Err(error) => tracing::warn!(%error, "settled users are looked at one by one, for want of a list"),
    }
    for user in users.state() {
        if context.rest.leave(user.uid_ref()) {
            context.triggers.call(&UserRef::from_obj(&*user));
        }
    }
}

/// How many had nothing to do.
async fn by_lists(
    context: &Context,
    scope: Option<&str>,
    mut watched: watch::Receiver<bool>,
) -> Result<usize, Error> {
    let shown = timeout(PATIENCE, watched.wait_for(|all| *all)).await;
    if !shown.is_ok_and(|shown| shown.is_ok()) {
        return Err(Error::Kube("watch the Secrets", "no list has come".to_owned()));
    }
    let mut users = Pages::<DeserializeGuard<ProgrammaticUser>>::new(&context.client, scope, None);
    let ours = format!("{MANAGED_BY_LABEL}={MANAGER}");
    let mut secrets = Pages::<Secret>::new(&context.client, scope, Some(&ours));
    let mut pairs = Pairs::default();
    // All pages of a list show the same moment: that of the users is before that of the Secrets.
    let mut eye = Eye {
        context,
        asked: Instant::now(),
        silent: HashSet::new(),
        at_rest: 0,
    };
    while users.more || secrets.more {
        let mut found = Vec::new();
        if users.more && (users.last <= secrets.last || !secrets.more) {
            let page = users.next("list the ProgrammaticUsers").await?;
            found.extend(page.into_iter().filter_map(|u| pairs.user(u.0.ok()?)));
        } else {
            let page = secrets.next("list the Secrets").await?;
            found.extend(page.into_iter().filter_map(|s| pairs.secret(s)));
        }
        for (user, secret) in found {
            eye.look(user, &secret).await;
        }
    }
    Ok(eye.at_rest)
}

/// Looks at one user after the other.
struct Eye<'a> {
    context: &'a Context,
    /// Before the first list was.
    asked: Instant,
    /// Organizations whose platforms did not say which accounts, policies and groups there are.
    silent: HashSet<String>,
    /// Users that have nothing to do.
    at_rest: usize,
}

impl Eye<'_> {
    /// The user is called in any case: what is due some day, only its reconcile can tell the controller runtime.
    async fn look(&mut self, user: ProgrammaticUser, secret: &Secret) {
        let rest = &self.context.rest;
        let uid = user.uid().unwrap_or_default();
        if !rest.is_listed(&uid) {
            return;
        }
        let version = user.resource_version().unwrap_or_default();
        let reference = UserRef::new(&user.name_any()).within(&user.namespace().unwrap_or_default());
        match self.plan(user, secret).await {
            Some(due) => {
                self.at_rest += 1;
                let secret = secret.resource_version().unwrap_or_default();
                rest.looked(&uid, &version, &secret, due);
            }
            None => drop(rest.leave(&uid)),
        }
        self.context.triggers.call(&reference);
    }

    /// When something is due, if there is nothing to do now. Of errors whoever reads the user anew will tell.
    async fn plan(&mut self, user: ProgrammaticUser, secret: &Secret) -> Option<Option<Duration>> {
        let observed = observe_listed(self.context, user, secret, self.asked).await;
        let mut observed = observed.ok().flatten()?;
        let organization = observed.organization.as_ref().map(|o| o.name_any())?;
        if self.silent.contains(&organization) {
            return None;
        }
        let mut next = plan::next(&observed, Timestamp::now());
        if let Next::Do(step @ Step::LookUp(false)) = next {
            let namespace = observed.user.namespace().unwrap_or_default();
            let mut hand = Hand::new(self.context, &namespace);
            let answer = timeout(ANSWER, hand.take(step, &mut observed)).await;
            if answer.is_err() || observed.learned.catalog.as_ref().is_some_and(Result::is_err) {
                self.silent.insert(organization);
                return None;
            }
            next = plan::next(&observed, Timestamp::now());
        }
        let Next::Stop(rest) = next else { return None };
        let writes = rest.status.and_then(|s| unwritten(self.context, &observed, *s));
        match rest.again {
            _ if writes.is_some() || rest.event.is_some() => None,
            Again::After(span) => Some(Some(span)),
            Again::OnChange => Some(None),
            Again::Backoff => None,
        }
    }
}

/// The pages of a list, one after the other, in the order of namespaces and names.
struct Pages<K> {
    api: Api<K>,
    params: ListParams,
    more: bool,
    /// Namespace and name of the last object.
    last: String,
}

impl<K> Pages<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    fn new(client: &Client, scope: Option<&str>, labels: Option<&str>) -> Self {
        let api = match scope {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = labels.map(str::to_owned);
        Self {
            api,
            params,
            more: true,
            last: String::new(),
        }
    }

    async fn next(&mut self, doing: &'static str) -> Result<Vec<K>, Error> {
        let page = timeout(PATIENCE, self.api.list(&self.params)).await;
        let page = page.map_err(|_| Error::Kube(doing, "no answer".to_owned()))?;
        let page = page.map_err(Error::from_kube(doing))?;
        if let Some(last) = page.items.last() {
            self.last = format!("{}/{}", last.namespace().unwrap_or_default(), last.name_any());
        }
        self.params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        self.more = self.params.continue_token.is_some();
        Ok(page.items)
    }
}

/// Users and Secrets that still miss each other.
#[derive(Default)]
struct Pairs {
    users: HashMap<ObjectRef<Secret>, ProgrammaticUser>,
    secrets: HashMap<ObjectRef<Secret>, Secret>,
}

impl Pairs {
    /// The user with its Secret, if that was shown.
    fn user(&mut self, user: ProgrammaticUser) -> Option<(ProgrammaticUser, Secret)> {
        let name = only_secret_name(&user)?;
        let secret = ObjectRef::new(&name).within(&user.namespace().unwrap_or_default());
        let found = self.secrets.remove(&secret);
        if let Some(found) = found {
            return Some((user, found));
        }
        keep(&mut self.users, secret, user);
        None
    }

    /// The Secret with its user, if that was shown.
    fn secret(&mut self, secret: Secret) -> Option<(ProgrammaticUser, Secret)> {
        let name = ObjectRef::from_obj(&secret);
        if let Some(user) = self.users.remove(&name) {
            return Some((user, secret));
        }
        keep(&mut self.secrets, name, secret);
        None
    }
}

/// With many names that are not alike, those that came first are given up.
fn keep<K: Hash + Eq, V>(all: &mut HashMap<K, V>, key: K, value: V) {
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(key, value);
}
