//! How much of what HTTP and the disk give is left to the platform's users, and whether it stays usable with many.
//!
//! `make test` runs it for a moment, so that it works when the figures are needed; `make load` measures, with an
//! optimised build, and asserts the ratios.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use support::cluster::root;
use support::platform::Options;
use support::process::Memory;
use support::{PAYMENTS, Platform};

/// Requests at one time.
const CONNECTIONS: usize = 16;
/// Each thing is measured as often, in turn, so that a noisy moment meets all.
const ROUNDS: u32 = 5;
/// What has to be left to the users at least, of HTTP and of the disk.
const GOAL: f64 = 0.5;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name} is no number: {v}"))
    })
}

/// How often `work` is done in a second by several at one time.
async fn rate<F: Future<Output = ()> + Send>(
    span: Duration,
    work: impl Fn(u64) -> F + Send + Sync + 'static,
) -> f64 {
    let (work, done) = (Arc::new(work), Arc::new(AtomicU64::new(0)));
    let begin = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (work, done) = (work.clone(), done.clone());
            tokio::spawn(async move {
                while begin.elapsed() < span {
                    work(done.load(Ordering::Relaxed)).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let done = done.load(Ordering::Relaxed) as f64;
    done / begin.elapsed().as_secs_f64()
}

/// Commits of one small row each that SQLite makes durable in a second, on the platform's disk and with its settings.
async fn commits(folder: &Path, span: Duration) -> f64 {
    let mut conn = SqliteConnectOptions::new()
        .filename(folder.join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "8192")
        .connect()
        .await
        .unwrap();
    conn.execute("CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .await
        .unwrap();
    let (begin, mut done) = (Instant::now(), 0.0);
    while begin.elapsed() < span {
        let insert = sqlx::query("INSERT INTO row (text) VALUES ($1)").bind("x".repeat(200));
        conn.execute(insert).await.unwrap();
        done += 1.0;
    }
    let rate = done / begin.elapsed().as_secs_f64();
    conn.close().await.unwrap();
    rate
}

/// Makes a user; its id and token.
async fn create(platform: &Platform, name: &str) -> (String, String) {
    let body = json!({"name": name, "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
    let made = platform
        .post("/setup/user/programmatic", &platform.admin_token, &body)
        .await;
    assert_eq!(made.status, 200, "{}", made.message());
    let text = |key: &str| made.items()[0][key].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / f64::from(ROUNDS)
}

/// What a process has of memory, and had at most.
fn memory(process: u32) -> String {
    let Memory { resident, most } = Memory::of(process);
    format!("{:8} MiB, at most {} MiB", resident >> 20, most >> 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_leaves_of_http_and_of_the_disk() {
    let span = Duration::from_millis(number("SPAN_MS", 200));
    let users = number("USERS", 300);
    let dir = root().join("target/tests/load");
    let _ = std::fs::remove_dir_all(&dir);
    let options = Options {
        address: "127.0.0.1".to_owned(),
        organization: "Acme".to_owned(),
        accounts: vec![(PAYMENTS.to_owned(), "payments".to_owned())],
        flags: vec!["--rate-limit".to_owned(), "0".to_owned()],
        database: None,
    };
    let platform = Arc::new(Platform::start(&dir, options).await.unwrap());
    let process = platform.process_id().await;
    let (id, token) = create(&platform, "first").await;

    let get = |path: &'static str, token: &str| {
        let (platform, token) = (platform.clone(), token.to_owned());
        move |_| {
            let (platform, token) = (platform.clone(), token.clone());
            async move { assert_eq!(platform.get(path, &token).await.status, 200) }
        }
    };
    let making = {
        let platform = platform.clone();
        move |n| {
            let platform = platform.clone();
            async move { drop(create(&platform, &format!("user-{n}")).await) }
        }
    };
    let (mut health, mut reads, mut raw, mut creates) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        health.push(rate(span, get("/healthz", "")).await);
        reads.push(rate(span, get("/setup/account", &token)).await);
        raw.push(commits(&dir, span).await);
        creates.push(rate(span, making.clone()).await);
    }
    let (health, reads, raw, creates) = (mean(&health), mean(&reads), mean(&raw), mean(&creates));
    println!(
        "{CONNECTIONS} connections, {ROUNDS} rounds of {} ms each, in turn:",
        span.as_millis()
    );
    println!("  GET /healthz                      {health:8.0}/s");
    println!(
        "  GET /setup/account with a token   {reads:8.0}/s   ratio {:.2}",
        reads / health
    );
    println!("  durable commits of raw SQLite     {raw:8.0}/s");
    println!(
        "  POST /setup/user/programmatic     {creates:8.0}/s   ratio {:.2}",
        creates / raw
    );
    if !cfg!(debug_assertions) {
        assert!(reads / health >= GOAL, "reads with a token against /healthz");
        assert!(creates / raw >= GOAL, "creates against commits of raw SQLite");
    }

    let count = async || platform.users().await.len() as u64;
    while count().await < users {
        let missing = users - count().await;
        let each = missing.div_ceil(CONNECTIONS as u64);
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let platform = platform.clone();
                tokio::spawn(async move {
                    for n in 0..each {
                        create(&platform, &format!("more-{n}")).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    }
    let begin = Instant::now();
    let listed = platform
        .get("/setup/organization/user", &platform.admin_token)
        .await;
    let list = begin.elapsed();
    let found = listed.items().len();
    let at_last: Value = listed.items().pop().unwrap();
    let mut details = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        let seen = platform.user(at_last["userId"].as_str().unwrap()).await.unwrap();
        details.push(begin.elapsed());
        assert_eq!(seen["tokens"].as_array().map(Vec::len), Some(1));
    }
    details.sort_unstable();
    let begin = Instant::now();
    assert!(platform.accepts(&token).await && platform.user(&id).await.is_ok());
    let first = begin.elapsed();
    println!("{found} users:");
    println!("  list of all           {:8.1} ms", list.as_secs_f64() * 1e3);
    println!(
        "  details, median       {:8.1} ms",
        details[50].as_secs_f64() * 1e3
    );
    println!("  a token and details   {:8.1} ms", first.as_secs_f64() * 1e3);
    println!("  memory                {}", memory(process));
    assert!(found as u64 > users);
    platform.stop().await;
}
