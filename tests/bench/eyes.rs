//! When which user was seen Ready, or rotated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{ProgrammaticUser, READY, Retiring};
use tokio::sync::watch;

/// What was seen of one user.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When it was first seen Ready.
    pub ready: Option<Instant>,
    /// The last value of `rotate-at` that was acted on to the end, and when that was first seen.
    pub rotated: Option<(String, Instant)>,
    /// When a revocation was first seen to have come to its end.
    pub revoked: Option<Instant>,
}

/// A watch that remembers moments, and nothing else.
pub struct Eyes {
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    news: watch::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Eyes {
    /// Watches; what is there already counts as seen now.
    pub async fn on(users: Api<ProgrammaticUser>) -> Self {
        let (tell, mut news) = watch::channel(());
        let seen = Arc::new(Mutex::new(HashMap::<String, Seen>::new()));
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            let stream = watcher(users, watcher::Config::default()).default_backoff();
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(watcher::Event::Apply(user) | watcher::Event::InitApply(user)) => note(&noted, &user),
                    Ok(_) => {}
                    // It is tried again; what was missed is listed then.
                    Err(error) => eprintln!("the watch on the users: {error}"),
                }
                tell.send_replace(());
            }
        });
        // The first list has begun or ended: nothing of what comes is missed.
        let _ = news.changed().await;
        Self { seen, news, task }
    }

    /// What was seen of a user.
    pub fn of(&self, name: &str) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name).cloned().unwrap_or_default()
    }

    /// How many of them are so.
    pub fn count(&self, names: &[String], so: impl Fn(&Seen) -> bool) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter(|n| seen.get(*n).is_some_and(&so)).count()
    }

    /// Waits until all of them have been Ready.
    pub async fn ready(&self, names: &[String], patience: Duration) {
        self.until("Ready", names, patience, |seen| seen.ready.is_some())
            .await;
    }

    /// Waits until all of them have been rotated for this value.
    pub async fn rotated(&self, names: &[String], value: &str, patience: Duration) {
        let done = |seen: &Seen| seen.rotated.as_ref().is_some_and(|(v, _)| v == value);
        self.until("rotated", names, patience, done).await;
    }

    /// Waits until this user has been revoked.
    pub async fn revoked(&self, name: &str, patience: Duration) {
        let done = |seen: &Seen| seen.revoked.is_some();
        self.until("revoked", &[name.to_owned()], patience, done).await;
    }

    async fn until(&self, what: &str, names: &[String], patience: Duration, so: impl Fn(&Seen) -> bool) {
        let mut news = self.news.clone();
        let all = async {
            // Counting all for each event would take the time that is measured.
            let mut next = 0;
            loop {
                news.mark_unchanged();
                while next < names.len() && so(&self.of(&names[next])) {
                    next += 1;
                }
                if next == names.len() {
                    break;
                }
                news.changed().await.expect("the watch goes on");
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            let done = self.count(names, &so);
            panic!(
                "{done} of {} users were {what} within {} s",
                names.len(),
                patience.as_secs()
            );
        }
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(seen: &Mutex<HashMap<String, Seen>>, user: &ProgrammaticUser) {
    let Some(status) = &user.status else { return };
    let is_ready = |s: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == READY && c.status == s)
    };
    if !is_ready("True") {
        return;
    }
    let now = Instant::now();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.entry(user.name_any()).or_default();
    seen.ready.get_or_insert(now);
    let dead = !status.journal.retiring.iter().any(Retiring::is_revoked);
    if status.last_handled_revoke_now.is_some() && dead {
        seen.revoked.get_or_insert(now);
    }
    let known = seen.rotated.as_ref().map(|(value, _)| value);
    if status.last_handled_rotate_at.as_ref() != known && status.journal.pending.is_none() {
        seen.rotated = status.last_handled_rotate_at.clone().map(|value| (value, now));
    }
}
