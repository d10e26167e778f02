//! The operator: observes, executes what `plan` decided, and writes the status.

mod config;
mod consumers;
mod context;
mod error;
mod gauges;
mod instance;
mod leader;
mod organizations;
mod reconcile;
mod run;
mod schedule;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Probes;
use crate::health::watchdog::{PATIENCE, Watchdog};

pub use config::Config;
use context::Context;
use leader::Election;

/// How long reconciles that have begun may go on after a signal.
const GRACE: Duration = Duration::from_secs(25);

/// Why the controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cluster to talk to.
    #[error("no Kubernetes cluster is configured: set KUBECONFIG, or run inside a cluster ({0})")]
    NoCluster(String),
    /// The address for probes cannot be used.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The thread that looks for hangs cannot be started.
    #[error("cannot start a thread: {0}")]
    Watchdog(std::io::Error),
    /// Flags that do not fit each other.
    #[error("{0}")]
    Flags(String),
    /// The instance id cannot be read or made.
    #[error("cannot get this installation's id: {0}")]
    Instance(String),
    /// A watch ended: half an operator is worse than none.
    #[error("the controller stopped by itself")]
    Stopped,
    /// Another one may work now.
    #[error("the lease was lost ({0}): another controller may work now, and this one ends; start it again")]
    LeaseLost(String),
}

/// Runs until `shutdown`; `listening` gets the address for probes.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    check(&config)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| StartError::Listen(config.listen, e))?;
    listening(
        listener
            .local_addr()
            .map_err(|e| StartError::Listen(config.listen, e))?,
    );
    // From here on it can be asked how it is doing.
    let watchdog = Arc::new(Watchdog::new(PATIENCE));
    watchdog.log_hangs().map_err(StartError::Watchdog)?;
    let probes = Arc::new(Probes::new(watchdog.clone()));
    let served = tokio::spawn(probes.clone().serve(listener, shutdown.clone()));
    let work = operate(config, &shutdown, &probes, watchdog.clone());
    let outcome = watchdog.main_loop(work).await;
    // The lease is lost: exit at once, without a graceful shutdown; another leader may be at work.
    if outcome.is_ok() {
        // Answers to probes that are on their way.
        let _ = served.await;
    }
    outcome
}

/// Waits for the lease, and works.
async fn operate(
    config: Config,
    shutdown: &CancellationToken,
    probes: &Probes<Context>,
    watchdog: Arc<Watchdog>,
) -> Result<(), StartError> {
    let client = client().await?;
    let instance = if let Some(instance) = &config.instance {
        instance.clone()
    } else {
        tokio::select! {
            instance = instance::get(&client, &config.namespace) => instance.map_err(StartError::Instance)?,
            () = shutdown.cancelled() => return Ok(()),
        }
    };
    tracing::info!(instance, namespace = config.namespace, "starting");
    let mut election = Election::new(
        client.clone(),
        &config.namespace,
        &config.lease_name,
        identity(),
        config.lease_duration,
        config.create_timeout,
    );
    let (context, work) = run::build(client, config, instance, election.state(), watchdog);
    probes.ask(context.clone());
    tokio::select! {
        () = election.acquire() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    tracing::info!("leading");
    context.metrics.set_leader(true);
    let (ended, tidy) = (CancellationToken::new(), CancellationToken::new());
    let mut lease = tokio::spawn(election.renew(ended.clone(), tidy.clone()));

    let all = work.start(&context, shutdown);
    tokio::pin!(all);
    let outcome = tokio::select! {
        () = &mut all => {
            // No call is on its way any more: another replica may begin at once.
            tidy.cancel();
            if shutdown.is_cancelled() { Ok(()) } else { Err(StartError::Stopped) }
        }
        () = after_signal(shutdown) => {
            tracing::warn!("some reconciles did not end in time");
            Ok(())
        }
        lost = &mut lease => {
            context.metrics.set_leader(false);
            let why = lost.unwrap_or_else(|e| Err(e.to_string())).err();
            // At once, whatever is going on: nothing may be written any more.
            return Err(StartError::LeaseLost(why.unwrap_or_default()));
        }
    };
    shutdown.cancel();
    ended.cancel();
    let _ = lease.await;
    outcome
}

/// A create call has to fit into the time for which the lease is certain.
fn check(config: &Config) -> Result<(), StartError> {
    if config.lease_duration > config.create_timeout {
        return Ok(());
    }
    let (lease, create) = (config.lease_duration.as_secs(), config.create_timeout.as_secs());
    Err(StartError::Flags(format!(
        "--lease-duration {lease}s has to be longer than --create-timeout {create}s: a leader must not be replaced while it waits for a new user"
    )))
}

/// The machine's name, which is the pod's, and something that no earlier process of it had.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".to_owned());
    format!("{host}_{}", context::fresh_nonce())
}

async fn after_signal(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// A client that never repeats a write by itself: a write whose answer was lost has to be read back first.
async fn client() -> Result<Client, StartError> {
    let failed = |e: &dyn std::fmt::Display| StartError::NoCluster(e.to_string());
    let mut config = kube::Config::infer().await.map_err(|e| failed(&e))?;
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("programmatic-users/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).map_err(|e| failed(&e))
}
