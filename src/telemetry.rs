//! Logs: one line an event on standard error, as text or JSON; how much may change while the process runs.

use std::panic::PanicHookInfo;
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::ValueEnum;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What the library for Kubernetes says of replies. It quotes those that it cannot read in full, at level WARN, and a
/// Secret that arrived cut off is one.
const QUOTES: &str = "kube_client::client";
/// Without `RUST_LOG`.
const USUAL: &str = "info";

/// How much is logged now.
static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    /// As the process was started.
    started: String,
    /// As the annotation of the Lease asks for while it runs.
    wanted: Mutex<Option<String>>,
}

/// Starts logging; `RUST_LOG` says how much (default `info`), but for what may quote a Secret.
pub fn init(format: LogFormat) {
    let started = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| USUAL.to_owned());
    let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    let (asked, handle) = reload::Layer::new(asked);
    // Around what can be changed, and not part of it.
    let filter = asked.and(filter_fn(|event| event.target() != QUOTES));
    let lines = layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    let _ = LEVEL.set(Level {
        handle,
        started,
        wanted: Mutex::default(),
    });
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs where a thread panicked. Of what it said only a text that is in the source: a text that was put together may
/// quote any value.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>();
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        at,
        "panicked: {}",
        said.unwrap_or(&"the text is not logged, since it may quote a Secret")
    );
}

/// Logs as much as `wanted` says, in the form of `RUST_LOG`; `None`: as at the start. Says so, and what is wrong with
/// one that cannot be read, once for each change; in that case nothing changes. At every level, what may quote a
/// Secret stays away.
pub fn set_level(wanted: Option<&str>) {
    let Some(level) = LEVEL.get() else { return };
    let mut now = level.wanted.lock().unwrap_or_else(PoisonError::into_inner);
    if now.as_deref() == wanted {
        return;
    }
    *now = wanted.map(str::to_owned);
    let directives = wanted.unwrap_or(&level.started);
    let changed = match EnvFilter::builder().parse(directives) {
        Ok(filter) => level.handle.reload(filter).map_err(|e| e.to_string()),
        Err(_) if wanted.is_none() => level
            .handle
            .reload(EnvFilter::new(USUAL))
            .map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match changed {
        // At a level that every setting shows, but for `off`.
        Ok(()) => tracing::warn!(log = directives, "the level of the log was changed"),
        Err(error) => tracing::warn!(
            wanted = directives,
            error,
            "this level of the log cannot be read, and stays as it is: write one such as debug, or info,programmatic_users=debug"
        ),
    }
}
