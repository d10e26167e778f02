//! The operator: observes, applies what `plan` decided, and writes status.

mod apply;
mod context;
mod error;
mod instance;
mod observe;
mod organization;
mod platforms;
mod reconcile;
mod secret;
mod streams;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use futures::channel::mpsc;
use futures::future::ready;
use futures::{FutureExt as _, StreamExt as _};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Config as Workers, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::health;
use crate::metrics::Metrics;
use context::{Caches, Context};
use streams::{Cache, Changes, cached, readiness, secrets, spec_changes, watched};

/// Reconciles at one time; each mostly waits for an answer.
const WORKERS: u16 = 16;
/// How long reconciles that have begun may go on after a signal.
const GRACE: Duration = Duration::from_secs(25);

/// What the controller is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The operator's own namespace: admin credentials and the instance id are there.
    pub namespace: String,
    /// Where probes and metrics are served.
    pub listen: SocketAddr,
    /// Namespaces whose users are looked after; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Organizations that are looked after; empty: all.
    pub organizations: Vec<String>,
    /// This installation's id, instead of the one in the cluster.
    pub instance: Option<String>,
}

/// Why the controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cluster to talk to.
    #[error("no Kubernetes cluster is configured: set KUBECONFIG, or run inside a cluster ({0})")]
    NoCluster(String),
    /// The address for probes cannot be used.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The instance id cannot be read or made.
    #[error("cannot get this installation's id: {0}")]
    Instance(String),
    /// A watch ended: half an operator is worse than none.
    #[error("the controller stopped by itself")]
    Stopped,
}

/// Runs until `shutdown`; `listening` is told the address for probes.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| StartError::Listen(config.listen, e))?;
    listening(
        listener
            .local_addr()
            .map_err(|e| StartError::Listen(config.listen, e))?,
    );
    let client = client().await?;
    let instance = match config.instance {
        Some(instance) => instance,
        None => instance::get(&client, &config.namespace)
            .await
            .map_err(StartError::Instance)?,
    };
    tracing::info!(instance, namespace = config.namespace, "starting");

    let (classes, class_changes) =
        cached::<ProgrammaticUserClass>("ProgrammaticUserClass", Api::all(client.clone()), spec_changes());
    let (organizations, organization_changes) =
        cached::<Organization>("Organization", Api::all(client.clone()), spec_changes());
    let readiness_changes = watched::<Organization>("Organization", Api::all(client.clone()), readiness);
    let scopes: Vec<Option<&str>> = match config.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|s| Some(s.as_str())).collect(),
    };
    let watched = scopes
        .iter()
        .map(|s| cached::<ProgrammaticUser>("ProgrammaticUser", scoped(&client, *s), spec_changes()));
    let (users, user_changes): (Vec<_>, Vec<_>) = watched.unzip();
    let context = Arc::new(Context::new(
        client.clone(),
        instance,
        Caches {
            users: users.clone(),
            classes: classes.clone(),
            organizations: organizations.clone(),
        },
        config.organizations.iter().cloned().collect::<BTreeSet<_>>(),
        &config.namespace,
        Metrics::default(),
    ));

    let probes = tokio::spawn(health::serve(listener, context.clone(), shutdown.clone()));
    let mut controllers = Vec::new();
    let mut senders = Vec::new();
    // One controller a watched namespace; usually there is just one.
    for ((scope, cache), changes) in scopes.iter().zip(&users).zip(user_changes) {
        let (sender, triggers) = mpsc::unbounded();
        senders.push((cache.clone(), sender));
        let controller = Controller::for_stream(changes, cache.store())
            .owns_stream(secrets(&client, *scope))
            .reconcile_on(triggers)
            .with_config(Workers::default().concurrency(WORKERS))
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(reconcile::reconcile, reconcile::on_error, context.clone())
            .for_each(|_| ready(()));
        controllers.push(controller.boxed());
    }
    let controller = Controller::for_stream(organization_changes, organizations.store())
        .with_config(Workers::default().concurrency(WORKERS))
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(organization::reconcile, organization::on_error, context.clone())
        .for_each(|_| ready(()));
    controllers.push(controller.boxed());
    let fan_out = tokio::spawn(fan_out(class_changes, readiness_changes, classes, senders));

    let all = futures::future::join_all(controllers);
    tokio::pin!(all);
    let outcome = tokio::select! {
        _ = &mut all => if shutdown.is_cancelled() { Ok(()) } else { Err(StartError::Stopped) },
        () = after_signal(&shutdown) => {
            tracing::warn!("some reconciles did not end in time");
            Ok(())
        }
    };
    fan_out.abort();
    shutdown.cancel();
    // Answers to probes that are on their way.
    let _ = probes.await;
    outcome
}

async fn after_signal(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// A client that never repeats a write by itself: one whose answer was lost has to be looked at first.
async fn client() -> Result<Client, StartError> {
    let failed = |e: &dyn std::fmt::Display| StartError::NoCluster(e.to_string());
    let mut config = kube::Config::infer().await.map_err(|e| failed(&e))?;
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("programmatic-users/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).map_err(|e| failed(&e))
}

fn scoped(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<ProgrammaticUser>> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

type Trigger = mpsc::UnboundedSender<ObjectRef<DeserializeGuard<ProgrammaticUser>>>;

/// Has the users of a class looked at again when the class, or the state of its organization, changed.
async fn fan_out(
    classes_changed: impl Changes<DeserializeGuard<ProgrammaticUserClass>>,
    organizations_changed: impl Changes<DeserializeGuard<Organization>>,
    classes: Cache<ProgrammaticUserClass>,
    users: Vec<(Cache<ProgrammaticUser>, Trigger)>,
) {
    let by_class = classes_changed.map(|item| item.map(|class| vec![class.name_any()]).unwrap_or_default());
    let by_organization = organizations_changed.map(|item| {
        let name = item
            .map(|organization| organization.name_any())
            .unwrap_or_default();
        let of_it = |class: &ProgrammaticUserClass| class.spec.organization_name == name;
        let all = classes.state();
        all.iter()
            .filter(|c| c.0.as_ref().is_ok_and(of_it))
            .map(|c| c.name_any())
            .collect()
    });
    let mut changed = std::pin::pin!(futures::stream::select(by_class, by_organization));
    while let Some(names) = changed.next().await {
        for (cache, trigger) in &users {
            for user in cache.state() {
                if user.0.as_ref().is_ok_and(|u| names.contains(&u.spec.class_name)) {
                    // Fails only when the controller has ended.
                    let _ = trigger.unbounded_send(ObjectRef::from_obj(&*user));
                }
            }
        }
    }
}
