//! A reverse proxy in the test's process that records what goes through it, and does to single requests what
//! networks, crashes and overloaded servers do.
//!
//! One stands between one controller and the API server, and one between all controllers of a test and the platform.
//! A token goes through it as every byte does, but is kept nowhere: records hold digests.

mod answers;
mod call;
mod fault;
mod memory;
mod record;
mod seen;

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use programmatic_users::plan::Marker;
use tokio::net::TcpListener;

pub use answers::Answer;
pub use fault::{Act, Fault, Flag, Lie};
pub use record::{Asked, Deleted, Entry, Posted};
pub use seen::{Change, Seen, digest};

use super::Operator;
use call::Call;
use memory::Memory;

/// The cluster's revision now.
type Revision = Box<dyn Fn() -> Pin<Box<dyn Future<Output = u64> + Send>> + Send + Sync>;

/// Where requests go.
enum Upstream {
    Kubernetes {
        client: kube::Client,
        /// The operator's own.
        namespace: String,
    },
    Platform {
        http: reqwest::Client,
        url: String,
        revision: Revision,
    },
}

/// A running proxy; it ends with the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    url: String,
    state: Arc<State>,
}

struct State {
    upstream: Upstream,
    began: Instant,
    victim: Mutex<Option<Arc<Operator>>>,
    faults: Mutex<Vec<Arc<Fault>>>,
    trace: Mutex<Vec<Entry>>,
    ledger: Mutex<Vec<Asked>>,
    memory: Mutex<Memory>,
}

/// No answer: the connection is severed.
#[derive(Debug)]
struct Severed;

impl std::fmt::Display for Severed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("severed by a fault")
    }
}

impl std::error::Error for Severed {}

/// An answer of the other side, whole unless it is a watch.
struct Reply {
    answer: Answer,
    bytes: Bytes,
}

impl Reply {
    fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// In front of the API server of this client, whose rights every request through it has.
    pub async fn kubernetes(client: kube::Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self::start(Upstream::Kubernetes { client, namespace }).await
    }

    /// In front of a platform. `revision` is asked for the state of the cluster when a call comes that makes or
    /// deletes a user.
    pub async fn platform<F>(url: &str, revision: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .expect("an HTTP client can be made");
        let revision: Revision = Box::new(move || Box::pin(revision()));
        let url = url.to_owned();
        Self::start(Upstream::Platform { http, url, revision }).await
    }

    async fn start(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            upstream,
            began: Instant::now(),
            victim: Mutex::default(),
            faults: Mutex::default(),
            trace: Mutex::default(),
            ledger: Mutex::default(),
            memory: Mutex::default(),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| {
                    let state = state.clone();
                    async move { serve(state, request).await }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // Severed connections end in an error, as they should.
                tokio::spawn(async move { connection.await.ok() });
            }
        });
        Self { url, state }
    }

    /// Such as `http://127.0.0.1:4711`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes a kubeconfig that leads here.
    pub fn write_kubeconfig(&self, path: &Path) -> PathBuf {
        let config = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}]});
        std::fs::write(path, config.to_string()).expect("a kubeconfig can be written");
        path.to_owned()
    }

    /// The controller that a fault kills.
    pub fn set_victim(&self, victim: Arc<Operator>) {
        *lock(&self.state.victim) = Some(victim);
    }

    /// Arms a rule for the next request that matches.
    pub fn arm(&self, act: Act, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Arc<Fault> {
        self.arm_nth(act, 0, 1, matches)
    }

    /// Arms a rule that lets `skip` requests through and acts on the `times` after them.
    pub fn arm_nth(
        &self,
        act: Act,
        skip: usize,
        times: usize,
        matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    ) -> Arc<Fault> {
        let fault = Fault::new(Box::new(matches), act, skip, times);
        lock(&self.state.faults).push(fault.clone());
        fault
    }

    /// All requests so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Entry> {
        lock(&self.state.trace).clone()
    }

    /// When it was started: what [`Entry::at`] counts from.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.state.began
    }

    /// What the platform was asked for so far.
    #[must_use]
    pub fn ledger(&self) -> Vec<Asked> {
        lock(&self.state.ledger).clone()
    }
}

/// Handles a request to its end, also if its sender goes away in between.
async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Severed> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Severed)?.to_bytes();
    let seen = state.look(&parts, &bytes);
    let fault = state.fault(&seen);
    // Dropped with this future, when the connection is gone.
    let _there = fault.clone().map(GivenUp);
    let work = tokio::spawn(async move { state.handle(parts, bytes, seen, fault).await });
    work.await.map_err(|_| Severed)?
}

/// Tells when no client waits for the answer any more.
struct GivenUp(Arc<Fault>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.set();
    }
}

impl State {
    fn look(&self, parts: &Parts, body: &[u8]) -> Seen {
        match &self.upstream {
            Upstream::Kubernetes { namespace, .. } => {
                Seen::kubernetes(parts, body, &lock(&self.memory), namespace)
            }
            Upstream::Platform { .. } => Seen::platform(parts, body),
        }
    }

    fn fault(&self, seen: &Seen) -> Option<Arc<Fault>> {
        lock(&self.faults).iter().find(|f| f.takes(seen)).cloned()
    }

    async fn handle(
        &self,
        parts: Parts,
        bytes: Bytes,
        seen: Seen,
        fault: Option<Arc<Fault>>,
    ) -> Result<Answer, Severed> {
        let line = self.note(&seen);
        let page = self.enter(&seen).await;
        let call = Call {
            state: self,
            parts,
            bytes,
            seen,
            line,
            page,
        };
        let Some(fault) = fault else {
            return call.forward().await.map(|reply| reply.answer);
        };
        let result = call.suffer(&fault).await;
        fault.over.set();
        result
    }

    /// A line in the trace, to be completed.
    fn note(&self, seen: &Seen) -> usize {
        let mut trace = lock(&self.trace);
        trace.push(Entry {
            at: self.began.elapsed(),
            seen: seen.clone(),
            outcome: "not answered yet".to_owned(),
        });
        trace.len() - 1
    }

    fn outcome(&self, line: usize, outcome: String) {
        lock(&self.trace)[line].outcome = outcome;
    }

    /// An entry in the ledger for what is to be made, deleted or replaced.
    async fn enter(&self, seen: &Seen) -> Option<usize> {
        let Upstream::Platform { revision, .. } = &self.upstream else {
            return None;
        };
        let entry = match (seen.verb.as_str(), seen.resource.as_str()) {
            ("POST", "/setup/user/programmatic") => Asked::Post(Posted {
                name: seen.user_name.clone(),
                marker: Marker::parse(&seen.user_name),
                revision: revision().await,
                forwarded: false,
                made: None,
            }),
            ("DELETE", "/setup/user/{id}") => Asked::Delete(Deleted {
                user_id: seen.name.clone(),
                revision: 0,
                forwarded: false,
            }),
            ("PUT", route) => Asked::Put {
                user_id: seen.name.clone(),
                route: route.to_owned(),
            },
            _ => return None,
        };
        let mut ledger = lock(&self.ledger);
        ledger.push(entry);
        Some(ledger.len() - 1)
    }

    /// Kills the controller; `false` if it does not run, so that the request is one of its last before an earlier end.
    async fn kill(&self) -> bool {
        let victim = lock(&self.victim).clone();
        match victim {
            Some(victim) => victim.kill_if_running().await,
            None => false,
        }
    }
}
