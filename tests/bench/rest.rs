//! Restart, memory, and what goes on when nothing changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::ceiling::cost;
use crate::report::Report;
use crate::support::process::Memory;

/// For so long no reconcile has ended: the operator has come to rest.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at how far it is: each is a pass over all users.
const LOOK: Duration = Duration::from_millis(100);
/// Calls of an interval at most: one list; accounts, policies and groups; details and token of five users.
const CALLS: u64 = 1 + 3 + 5 * 2;
/// The usual `drift.interval`, in minutes.
const USUAL_INTERVAL: f64 = 5.0;

/// From the start of the process until every user was looked at and none is any more.
pub async fn restart(bed: &Bed, empty: Memory, report: &mut Report) {
    let users = bed.names.len();
    let mark = bed.world.audit_mark().await;
    let calls = bed.platform_calls().await;
    let before = bed.processor_time().await;
    let begin = Instant::now();
    bed.operator.launch().await.unwrap_or_else(|e| panic!("{e}"));
    let (mut seen, mut last) = (0, Instant::now());
    loop {
        let now = bed.reconciles().await.unwrap_or_default();
        if now != seen {
            (seen, last) = (now, Instant::now());
        }
        if seen >= users as u64 && last.elapsed() > QUIET {
            break;
        }
        assert!(
            begin.elapsed() < Bed::patience(users),
            "{seen} reconciles of {users} users after {} s",
            begin.elapsed().as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
    let took = last - begin;
    let after = bed.processor_time().await;
    let calls = bed.platform_calls().await - calls;
    let entries = bed.world.audit_from(mark).await;
    let ours: Vec<_> = entries.iter().filter(|e| e.is_operator()).collect();
    let written: Vec<String> = ours
        .iter()
        .filter(|e| {
            e.is_write() && ["programmaticusers", "secrets"].contains(&e.object_ref.resource.as_str())
        })
        .map(|e| e.describe())
        .collect();
    report
        .figure(
            "restart",
            "restart to every user looked at, and rest",
            took.as_secs_f64(),
            "s",
        )
        .at_most(15.0, bed.numbers.users <= 10_000);
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    {
        report.figure(
            "restart_reads",
            "requests to the API server for it, a user",
            ours.len() as f64 / users as f64,
            "",
        );
        report.figure(
            "restart_reconciles",
            "reconciles for it, a user",
            seen as f64 / users as f64,
            "",
        );
        report.figure("restart_calls", "calls to the platform for it", calls as f64, "");
        for (part, milliseconds) in cost(&before, &after, users as f64) {
            report.note(&format!(
                "processor time for a user at a restart, {part}: {milliseconds:.2} ms"
            ));
        }
    }
    assert_eq!(written, Vec::<String>::new(), "a restart changes no user");

    let memory = bed.memory().await;
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let (mebi, each) = (
        |bytes: u64| bytes as f64 / f64::from(1 << 20),
        memory.resident.saturating_sub(empty.resident) as f64 / users as f64 / 1024.0,
    );
    report.figure(
        "memory_empty",
        "resident memory without users",
        mebi(empty.resident),
        "MiB",
    );
    report
        .figure(
            "memory",
            "resident memory after the restart",
            mebi(memory.resident),
            "MiB",
        )
        .at_most(256.0, bed.numbers.users <= 100_000);
    report.figure("memory_most", "most that it was", mebi(memory.most), "MiB");
    report.figure("memory_user", "of it, for each user", each, "KiB");
}

/// Nothing is written while nothing changes, and the calls to the platform do not grow with the users.
pub async fn nothing_changes(bed: &Bed, report: &mut Report) {
    // The list after the last creation sees other numbers than the one before, and says so once.
    bed.world.counted(i32::try_from(bed.names.len()).unwrap()).await;
    let mark = bed.world.audit_mark().await;
    let before = bed.platform_calls().await;
    let begin = Instant::now();
    let intervals = 2;
    tokio::time::sleep(Duration::from_secs(bed.interval * intervals)).await;
    let calls = bed.platform_calls().await - before;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let entries = bed.world.audit_from(mark).await;
    let mut asked = BTreeMap::<String, usize>::new();
    let mut written = Vec::new();
    for entry in entries.iter().filter(|e| e.is_operator()) {
        *asked
            .entry(format!("{} {}", entry.verb, entry.object_ref.kind()))
            .or_default() += 1;
        if entry.is_write() && entry.object_ref.resource != "leases" {
            written.push(entry.describe());
        }
    }
    let reads: usize = asked
        .iter()
        .filter(|(what, _)| !what.ends_with(" leases"))
        .map(|(_, n)| n)
        .sum();
    let asked: Vec<String> = asked.iter().map(|(what, n)| format!("{n} {what}")).collect();
    report.note(&format!(
        "at rest for {intervals} intervals of {} s, the API server was asked for: {}",
        bed.interval,
        asked.join(", ")
    ));
    report
        .figure("rest_writes", "writes at rest", as_float(written.len()), "")
        .at_most(0.0, true);
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let each = calls as f64 / intervals as f64;
    report.figure("rest_calls", "calls to the platform an interval", each, "");
    report.figure(
        "rest_calls_minute",
        "that is, with the usual interval of 5 min",
        each / USUAL_INTERVAL,
        "/min",
    );
    report.figure(
        "rest_requests",
        "requests to the API server, without the Lease",
        as_float(reads) / minutes,
        "/min",
    );
    assert_eq!(written, Vec::<String>::new(), "nothing is written at rest");
    assert!(
        calls <= (intervals + 1) * CALLS,
        "{calls} calls in {intervals} intervals"
    );
}

fn as_float(n: usize) -> f64 {
    u32::try_from(n).unwrap().into()
}
