//! Rotation of many users at once where the organization's limits are tight, and new users and a token that leaked meanwhile.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use programmatic_users::api::{Organization, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};
use serde_json::json;

use crate::bed::Bed;
use crate::eyes::Seen;
use crate::report::Report;
use crate::rotate::ask;

/// New users that come while the storm goes on.
const NEW: usize = 3;
/// Calls to the platform that a rotation takes.
const CALLS: usize = 3;
/// How long the storm is to take about, in seconds: the limit is set for that.
const SPAN: (usize, usize) = (20, 30);

/// Limits how hard the platform is used.
async fn limit(bed: &Bed, per_minute: usize) {
    let api: Api<Organization> = Api::all(bed.world.client());
    let patch = json!({"spec": {"limits": {"requestsPerMinute": per_minute}}});
    let name = bed.world.organization_name();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

pub async fn blow(bed: &mut Bed, report: &mut Report) {
    let names = bed.names[..bed.numbers.storm].to_vec();
    let new = bed.claim("new", NEW);
    let bed = &*bed;
    let span = if names.len() < 100 { SPAN.0 } else { SPAN.1 };
    let per_minute = names.len() * CALLS * 60 / span;
    limit(bed, per_minute).await;
    let begin = Instant::now();
    let before = bed.platform_calls().await;
    ask(&bed.world, &names, ROTATE_AT_ANNOTATION, "storm").await;
    let done = |seen: &Seen| seen.rotated.as_ref().is_some_and(|(v, _)| v == "storm");
    bed.world
        .eventually(
            "the storm to be in full swing",
            Bed::patience(names.len()),
            async || match bed.eyes.count(&names, done) {
                0 => Err("no user is rotated yet".to_owned()),
                n => Ok(n),
            },
        )
        .await;
    let leaked = names.iter().rev().find(|name| !done(&bed.eyes.of(name)));
    let leaked = leaked.expect("the storm is not over");
    ask(
        &bed.world,
        std::slice::from_ref(leaked),
        REVOKE_NOW_ANNOTATION,
        "1",
    )
    .await;
    let asked = Instant::now();
    let applied = futures::future::join_all(new.iter().map(|name| bed.apply(name))).await;
    bed.eyes.ready(&new, Bed::patience(names.len()) * 4).await;
    let ready = new.iter().map(|name| bed.eyes.of(name).ready.unwrap());
    let times = ready
        .zip(applied)
        .map(|(ready, applied)| ready - applied)
        .collect();
    let rotated = bed.eyes.count(&names, done);
    bed.eyes.revoked(leaked, Bed::patience(names.len()) * 4).await;
    let dead = bed.eyes.of(leaked).revoked.unwrap();
    let then = |seen: &Seen| done(seen) && seen.rotated.as_ref().is_some_and(|(_, at)| *at <= dead);
    let left = names.len() - bed.eyes.count(&names, then);
    bed.eyes
        .rotated(&names, "storm", Bed::patience(names.len()) * 4)
        .await;
    let took = begin.elapsed();
    let calls = bed.platform_calls().await - before;
    limit(bed, 60_000).await;
    let float = |n: usize| f64::from(u32::try_from(n).unwrap());
    let per_minute = float(per_minute);
    report.figure("storm", "users in the storm", float(names.len()), "");
    report.figure(
        "storm_limit",
        "limit of calls to the platform",
        per_minute,
        "/min",
    );
    report.figure("storm_took", "the storm took", took.as_secs_f64(), "s");
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let calls = calls as f64;
    report.figure(
        "storm_calls",
        "calls to the platform",
        calls / took.as_secs_f64() * 60.0,
        "/min",
    );
    report.times("storm_new", "apply to Ready of a new user in the storm", times);
    report.figure(
        "storm_revoked",
        "revoke-now to the old token dead in the storm",
        (dead - asked).as_secs_f64() * 1000.0,
        "ms",
    );
    report.figure(
        "storm_revoked_left",
        "rotations still to come when it was dead",
        float(left),
        "",
    );
    report.figure(
        "storm_left",
        "rotations still to come when the last of them was Ready",
        float(names.len() - rotated),
        "",
    );
    // A burst of a tenth of a minute's calls is allowed, and before the new limit is known it is not obeyed.
    let most = per_minute * (took.as_secs_f64() / 60.0 + 0.1) + 20.0;
    assert!(calls <= most, "{calls} calls, and {most} were allowed");
    assert!(rotated < names.len(), "new users waited until the storm was over");
    assert!(
        left * 4 > names.len(),
        "a revocation waited until the storm was over"
    );
    assert!(took > Duration::from_secs(1), "that was no storm");
}
