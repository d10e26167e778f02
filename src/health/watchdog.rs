//! Whether the process hangs.
//!
//! Two things are watched. The main loop, which elects a leader and hands out the reconciles, has to come round once in
//! a while; and no reconcile may keep a thread: while it waits it gives the thread back. So the watchdog never takes
//! a platform or an API server that does not answer for a hang. If no thread of the
//! runtime is left, the probe gets no answer, which fails it, too.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// How often the main loop says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Longer than any machine that deserves the name keeps a process from running.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Not within a poll.
const OUTSIDE: u64 = 0;

/// Watches.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    /// All times are milliseconds since then.
    started: Instant,
    beat: AtomicU64,
    works: Mutex<Works>,
}

#[derive(Debug, Default)]
struct Works {
    next: u64,
    running: BTreeMap<u64, Arc<Work>>,
}

/// A piece of work that has begun and not ended.
#[derive(Debug)]
struct Work {
    kind: &'static str,
    /// Kind, namespace and name of its object.
    subject: String,
    begun: Instant,
    /// When it was given a thread; [`OUTSIDE`] while it has none.
    polled: AtomicU64,
}

/// Work of one kind that is running: how much, and since when the oldest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Running {
    /// How much.
    pub count: usize,
    /// How long ago the oldest was begun.
    pub oldest: Duration,
}

impl Watchdog {
    /// One that calls what takes longer than `patience` a hang.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            started: Instant::now(),
            beat: AtomicU64::new(0),
            works: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, at: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(at))
    }

    fn works(&self) -> MutexGuard<'_, Works> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the main loop; it has to come round for the whole time.
    pub async fn main_loop<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beats.tick() => self.beat.store(self.now(), Ordering::Relaxed),
            }
        }
    }

    /// Logs what hangs, once for each hang, for as long as there is a watchdog. It has a thread of its own: those of the
    /// runtime may all be kept.
    pub fn log_hangs(self: &Arc<Self>) -> std::io::Result<()> {
        let watchdog = Arc::downgrade(self);
        let watch = move || {
            let mut hung = false;
            while let Some(watchdog) = watchdog.upgrade() {
                let found = watchdog.check();
                if let Err(why) = &found
                    && !hung
                {
                    tracing::error!("hangs: {why}");
                }
                hung = found.is_err();
                drop(watchdog);
                std::thread::sleep(BEAT);
            }
        };
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)
            .map(drop)
    }

    /// Runs a piece of work, which may wait for as long as it likes and must not keep its thread. `subject` names its
    /// object with kind and namespace.
    pub async fn watch<T>(&self, kind: &'static str, subject: String, work: impl Future<Output = T>) -> T {
        let (_entry, this) = self.enter(kind, subject);
        let mut work = pin!(work);
        poll_fn(|context| {
            let _poll = Poll::begin(&this.polled, self.now());
            work.as_mut().poll(context)
        })
        .await
    }

    fn enter(&self, kind: &'static str, subject: String) -> (Entry<'_>, Arc<Work>) {
        let work = Arc::new(Work {
            kind,
            subject,
            begun: Instant::now(),
            polled: AtomicU64::new(OUTSIDE),
        });
        let mut works = self.works();
        let id = works.next;
        works.next += 1;
        works.running.insert(id, work.clone());
        (Entry { watchdog: self, id }, work)
    }

    /// An error says what hangs.
    pub fn check(&self) -> Result<(), String> {
        // The object first: a reconcile that keeps the thread of the main loop stops that, too.
        for work in self.works().running.values() {
            let polled = work.polled.load(Ordering::Relaxed);
            if polled != OUTSIDE && self.since(polled) > self.patience {
                let (subject, kept) = (&work.subject, self.since(polled).as_secs());
                return Err(format!(
                    "the reconcile of {subject} has kept a thread for {kept} s"
                ));
            }
        }
        let stood = self.since(self.beat.load(Ordering::Relaxed));
        if stood > self.patience {
            return Err(format!(
                "the main loop has not come round for {} s",
                stood.as_secs()
            ));
        }
        Ok(())
    }

    /// What runs, of one kind.
    #[must_use]
    pub fn running(&self, kind: &str) -> Running {
        let mut running = Running::default();
        for work in self.works().running.values().filter(|w| w.kind == kind) {
            running.count += 1;
            running.oldest = running.oldest.max(work.begun.elapsed());
        }
        running
    }
}

/// Takes the work off the list, however it ends.
struct Entry<'a> {
    watchdog: &'a Watchdog,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.watchdog.works().running.remove(&self.id);
    }
}

/// The time for which a piece of work has a thread.
struct Poll<'a>(&'a AtomicU64);

impl<'a> Poll<'a> {
    fn begin(polled: &'a AtomicU64, now: u64) -> Self {
        polled.store(now.max(OUTSIDE + 1), Ordering::Relaxed);
        Self(polled)
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.0.store(OUTSIDE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::{Duration, Instant};

    use super::{Running, Watchdog};

    const PATIENCE: Duration = Duration::from_millis(300);

    fn until(wanted: impl Fn() -> bool) {
        let start = Instant::now();
        while !wanted() {
            assert!(start.elapsed() < Duration::from_secs(30), "it does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_loop_that_does_not_come_round_is_a_hang_and_one_that_does_again_is_none() {
        let watchdog = Arc::new(Watchdog::new(PATIENCE * 10));
        let (release, lock) = mpsc::channel::<()>();
        let watched = watchdog.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(watched.main_loop(async {
                // As a lock that is never released.
                let _ = lock.recv();
                tokio::time::sleep(Duration::from_mins(10)).await;
            }));
        });
        until(|| watchdog.check().is_err());
        let why = watchdog.check().unwrap_err();
        assert!(why.starts_with("the main loop has not come round for "), "{why}");
        release.send(()).unwrap();
        until(|| watchdog.check().is_ok());
        // It sleeps for good.
        drop(thread);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_that_waits_is_no_hang_and_work_that_keeps_its_thread_is_one() {
        let watchdog = Arc::new(Watchdog::new(PATIENCE));
        let beating = watchdog.clone();
        let beat = tokio::spawn(async move {
            loop {
                beating
                    .beat
                    .store(beating.now(), std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(PATIENCE / 10).await;
            }
        });
        let watched = watchdog.clone();
        let waits = tokio::spawn(async move {
            let subject = "Organization acme".to_owned();
            watched
                .watch("Organization", subject, std::future::pending::<()>())
                .await;
        });
        tokio::time::sleep(PATIENCE * 3).await;
        assert_eq!(watchdog.check(), Ok(()));
        let running = watchdog.running("Organization");
        assert!(
            running.count == 1 && running.oldest >= PATIENCE * 2,
            "{running:?}"
        );
        waits.abort();
        let _ = waits.await;
        assert_eq!(watchdog.running("Organization"), Running::default());

        let (watched, (release, lock)) = (watchdog.clone(), mpsc::channel::<()>());
        let keeps = tokio::spawn(async move {
            let subject = "ProgrammaticUser payments/ci".to_owned();
            watched
                .watch("ProgrammaticUser", subject, async move {
                    let _ = lock.recv();
                })
                .await;
        });
        tokio::task::block_in_place(|| until(|| watchdog.check().is_err()));
        let why = watchdog.check().unwrap_err();
        assert!(
            why.starts_with("the reconcile of ProgrammaticUser payments/ci has kept a thread for "),
            "{why}"
        );
        release.send(()).unwrap();
        keeps.await.unwrap();
        assert_eq!(watchdog.check(), Ok(()));
        beat.abort();
    }
}
