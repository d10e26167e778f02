//! Users a second, and from apply to Ready.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::bed::Bed;
use crate::ceiling::{Ceiling, WRITES, cost, rate};
use crate::report::Report;

/// How the users came into being that were there before the operator was.
pub struct Batch {
    /// Users a second.
    pub rate: f64,
    /// Writes of the operator for each of them.
    pub writes: f64,
    /// Milliseconds of processor time for each of them.
    pub cost: BTreeMap<&'static str, f64>,
}

/// One after the other on an idle system.
pub async fn one_at_a_time(bed: &mut Bed, report: &mut Report) {
    let names = bed.claim("idle", bed.numbers.idle);
    let mut times = Vec::new();
    for name in names {
        let begin = bed.apply(&name).await;
        bed.eyes
            .ready(std::slice::from_ref(&name), Bed::patience(1))
            .await;
        times.push(bed.eyes.of(&name).ready.unwrap() - begin);
    }
    report.times("idle", "apply to Ready, idle", times);
}

/// Users that are there already when the operator starts. Those who apply them take none of the API server's time from
/// it so, and it finds as much to do as it can.
pub async fn all_at_once(bed: &mut Bed) -> Batch {
    let names = bed.claim("batch", bed.numbers.batch());
    bed.apply_all(&names).await;
    let mark = bed.world.audit_mark().await;
    bed.operator.launch().await.unwrap_or_else(|e| panic!("{e}"));
    let before = bed.processor_time().await;
    bed.eyes.ready(&names, Bed::patience(names.len())).await;
    let after = bed.processor_time().await;
    let ready: Vec<Instant> = names.iter().map(|n| bed.eyes.of(n).ready.unwrap()).collect();
    let writes = bed.world.writes_from(mark).await;
    let theirs = writes
        .iter()
        .filter(|w| names.binary_search(&w.object_ref.name).is_ok());
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let (count, writes) = (names.len() as f64, theirs.count() as f64);
    Batch {
        rate: rate(ready),
        writes: writes / count,
        cost: cost(&before, &after, count),
    }
}

/// Users arrive at half the rate at which the operator can make them, whether or not those before are Ready.
pub async fn half_as_fast(bed: &mut Bed, batch: &Batch, report: &mut Report) {
    let names = bed.claim("load", bed.numbers.loaded);
    let bed = &*bed;
    let mut arrivals = tokio::time::interval(Duration::from_secs_f64(2.0 / batch.rate));
    let mut applied = FuturesUnordered::new();
    let mut begun = Vec::new();
    for name in &names {
        // While waiting for the next moment, those on their way go on.
        let tick = arrivals.tick();
        tokio::pin!(tick);
        loop {
            tokio::select! {
                _ = &mut tick => break,
                Some(done) = applied.next() => begun.push(done),
            }
        }
        applied.push(async move { (name, bed.apply(name).await) });
    }
    while let Some(done) = applied.next().await {
        begun.push(done);
    }
    drop(applied);
    bed.eyes.ready(&names, Bed::patience(names.len())).await;
    let times = begun
        .iter()
        .map(|(name, begin)| bed.eyes.of(name).ready.unwrap() - *begin);
    let what = format!("apply to Ready, {:.0} new users a second", batch.rate / 2.0);
    report.times("loaded", &what, times.collect());
}

/// How much of what the API server gives is left to users.
pub fn against_the_ceiling(batch: &Batch, ceilings: &[Ceiling; 2], report: &mut Report) {
    let rate = f64::midpoint(ceilings[0].rate, ceilings[1].rate);
    let [first, second] = ceilings.each_ref().map(|c| c.rate);
    report.note(&format!(
        "ceiling before and after: {first:.0} and {second:.0} writes/s"
    ));
    report.figure(
        "ceiling",
        "writes that the API server takes from a plain client",
        rate,
        "/s",
    );
    report.figure(
        "writes",
        "writes of the operator for a new user",
        batch.writes,
        "",
    );
    report.figure("created", "users made by the operator", batch.rate, "/s");
    let most = rate / batch.writes;
    report
        .figure(
            "ratio",
            "of what these writes alone would allow",
            batch.rate / most,
            "",
        )
        .at_least(0.8);
    for (part, time) in &batch.cost {
        let alone = ceilings.iter().filter_map(|c| c.cost.get(part)).sum::<f64>() / 2.0;
        report.note(&format!(
            "processor time for a user, {part}: {time:.2} ms; for its {WRITES} writes alone: {alone:.2} ms"
        ));
    }
    assert!(
        batch.writes <= f64::from(u8::try_from(WRITES).unwrap()),
        "a new user costs {} writes, not {WRITES}",
        batch.writes
    );
}
