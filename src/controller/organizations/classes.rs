//! Keeps a class's object, when it is deleted, for as long as users are of it.
//!
//! A class that is gone says nothing any more: whether its users are to be revoked, and how old their tokens may become.
//! While it is being deleted it allows nothing, so that with `onRevoked: Revoke` its users go, and it goes after them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::api::{CLASS_FINALIZER, ProgrammaticUser, ProgrammaticUserClass, Reason};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::{finalizer, retained};
use crate::controller::reconcile::panics::catch_panic;
use crate::plan::EventDraft;

/// Pause between two checks of what a class waits for, or of a retained user's end.
const SOON: Duration = Duration::from_secs(5);
/// The same while nothing is on its way.
const LATER: Duration = Duration::from_mins(1);

/// Reconciles classes that are being deleted, and retained users, at each change of them and now and then.
pub(in crate::controller) async fn keep(context: Arc<Context>, changed: Arc<Notify>) {
    // Without all records a class would be let go before its retained users.
    if context.synced().await.is_err() || context.retained.filled().await.is_err() {
        return;
    }
    // A platform that does not answer holds up its own retained users, and no class.
    let records = Notify::new();
    join(
        reconcile_classes(&context, &changed, &records),
        end_retained(&context, &records),
    )
    .await;
}

async fn reconcile_classes(context: &Context, changed: &Notify, records: &Notify) {
    let mut reported = BTreeSet::new();
    loop {
        let mut waiting = false;
        for class in context.caches.classes.state() {
            // One that cannot be read is held by what it was before.
            let Ok(class) = &class.0 else { continue };
            match catch_panic(reconcile_class(context, class, &mut reported)).await {
                Ok(waits) => waiting |= waits,
                Err(error) => {
                    tracing::warn!(class = class.name_any(), %error, "the class was not looked after; it is tried again");
                    waiting = true;
                }
            }
        }
        if timeout(pause(waiting), changed.notified()).await.is_ok() {
            records.notify_one();
        }
    }
}

async fn end_retained(context: &Context, changed: &Notify) {
    let mut places = retained::Positions::new();
    loop {
        let again = retained::end_those_due(context, &mut places).await;
        let _ = timeout(pause(again), changed.notified()).await;
    }
}

fn pause(waiting: bool) -> Duration {
    if waiting { SOON } else { LATER }
}

/// Whether the class waits for something.
async fn reconcile_class(
    context: &Context,
    class: &ProgrammaticUserClass,
    reported: &mut BTreeSet<String>,
) -> Result<bool, Error> {
    let name = class.name_any();
    if !context.manages(&class.spec.organization_name) {
        return Ok(false);
    }
    let held = is_held(class);
    if class.meta().deletion_timestamp.is_none() {
        reported.remove(&name);
        if !held && cached(context, &name) > 0 {
            // Its users were made by a version that did not hold classes.
            set_finalizer(context, class, true).await?;
        }
        return Ok(false);
    }
    if !held {
        return Ok(false);
    }
    let retained = context.retained.of_class(&name);
    let mut users = cached(context, &name);
    if users == 0 && retained == 0 {
        users = stored(context, &name).await?;
    }
    if users + retained == 0 {
        set_finalizer(context, class, false).await?;
        return Ok(false);
    }
    if reported.insert(name.clone()) {
        let message = format!(
            "class {name} is being deleted, and stays until its {users} users and {retained} retained users are gone: with onRevoked: Revoke the operator deletes them, else delete their objects, and the users whose objects are gone on the platform"
        );
        let notice = EventDraft {
            warning: true,
            reason: Reason::DeletionBlocked,
            message,
        };
        context.publish(class, &notice).await;
    }
    Ok(true)
}

fn is_held(class: &ProgrammaticUserClass) -> bool {
    class.finalizers().iter().any(|f| f == CLASS_FINALIZER)
}

/// Objects of the class that may have users, as far as the cache knows: enough to go on waiting.
fn cached(context: &Context, name: &str) -> usize {
    let all = context.caches.users.iter().flat_map(|users| users.state());
    all.filter(|user| user.is_of(name) && user.has_begun()).count()
}

/// The same from the API server.
async fn stored(context: &Context, name: &str) -> Result<usize, Error> {
    count_stored(context, |o| o["spec"]["className"] == name && has_begun(o)).await
}

/// How many `ProgrammaticUser`s the API server has that are `such`, in pages: objects may be large.
pub(in crate::controller) async fn count_stored(
    context: &Context,
    such: impl Fn(&Value) -> bool + Send,
) -> Result<usize, Error> {
    let kind = ApiResource::erase::<ProgrammaticUser>(&());
    let apis: Vec<Api<DynamicObject>> = match context.config.watch_namespaces.as_slice() {
        [] => vec![Api::all_with(context.client.clone(), &kind)],
        some => some
            .iter()
            .map(|n| Api::namespaced_with(context.client.clone(), n, &kind))
            .collect(),
    };
    let mut users = 0;
    for api in apis {
        let mut params = ListParams::default().limit(50);
        loop {
            let page = api.list(&params).await;
            let page = page.map_err(Error::from_kube("list the ProgrammaticUsers"))?;
            users += page.items.iter().filter(|o| such(&o.data)).count();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
    }
    Ok(users)
}

/// Whether the status names anything that may be on the platform, whether or not it can be read.
pub(in crate::controller) fn has_begun(object: &Value) -> bool {
    let journal = &object["status"]["journal"];
    let some = |key: &str| match &journal[key] {
        Value::Null => false,
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    };
    ["pending", "current", "retiring", "abandoned"]
        .into_iter()
        .any(some)
}

/// Adds or removes the finalizer; `None`: the class is gone.
pub(in crate::controller) async fn set_finalizer(
    context: &Context,
    class: &ProgrammaticUserClass,
    present: bool,
) -> Result<Option<ProgrammaticUserClass>, Error> {
    let doing = "change the finalizers of the ProgrammaticUserClass";
    finalizer::set(context, class, CLASS_FINALIZER, present, doing).await
}
