//! `doctor`: whether everything that a user needs is there and works.

mod check;
mod kinds;
mod organizations;
mod rights;
mod workload;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs};
use super::outcome::{Outcome, Report};
use super::output::{OutputArgs, Table, count};
use super::platform::PlatformArgs;
use super::progress::Progress;
use super::view::{State, UserView};
use super::{objects, operator};

use check::{Check, Verdict};

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the operator's Lease (default: the one of its Deployment)
    #[arg(long, value_name = "NAME")]
    lease_name: Option<String>,
    /// The operator's service account, whose rights are checked (default: the one of its Deployment)
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// The platform.
    #[command(flatten)]
    platform: PlatformArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// The whole result.
#[derive(Debug, Serialize)]
struct Diagnosis {
    healthy: bool,
    counts: BTreeMap<&'static str, usize>,
    checks: Vec<Check>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    let mut progress = Progress::spinner();
    let mut checks = Vec::new();
    progress.report("asking the API server");
    match api_server(&cluster).await {
        Ok(found) => {
            checks.extend(found);
            rest(&cluster, &args, &mut progress, &mut checks).await;
        }
        // Without the API server there is nothing else to check.
        Err(check) => checks.push(check),
    }
    drop(progress);
    let healthy = checks.iter().all(|c| c.verdict < Verdict::Failed);
    let number = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let counts = BTreeMap::from([
        ("ok", number(Verdict::Ok)),
        ("warning", number(Verdict::Warning)),
        ("failed", number(Verdict::Failed)),
    ]);
    let diagnosis = Diagnosis {
        healthy,
        counts,
        checks,
    };
    Ok(Report::of(args.output.render(&diagnosis, table), healthy))
}

async fn rest(cluster: &Cluster, args: &Args, progress: &mut Progress, checks: &mut Vec<Check>) {
    let own = &args.platform.operator.operator_namespace;
    progress.report("checking the kinds and the admission policies");
    checks.extend(kinds::definitions(cluster).await);
    checks.extend(kinds::policies(cluster).await);
    progress.report("looking at the operator");
    let (deployments, settings) = workload::deployments(cluster, own).await;
    checks.extend(deployments);
    // A release of another name has other names throughout: what the flags do not say, its Deployment does.
    let lease = args.lease_name.as_deref().or(settings.lease.as_deref());
    checks.push(workload::lease(cluster, own, lease.unwrap_or(operator::LEASE)).await);
    progress.report("looking at rights");
    let users = objects::users(cluster, cluster.asked.as_deref()).await;
    let (namespaces, more) = rights::namespaces(users.as_deref().unwrap_or_default());
    let account = args.service_account.as_deref().or(settings.account.as_deref());
    let (account, consumers) = (
        account.unwrap_or(operator::ACCOUNT),
        settings.consumers.as_deref(),
    );
    checks.extend(rights::of_operator(cluster, own, account, (&namespaces, more), consumers).await);
    checks.extend(rights::own(cluster, own).await);
    progress.report("asking the platforms");
    checks.extend(organizations::all(cluster, &args.platform).await);
    checks.push(match users {
        Ok(users) => fleet(&users),
        Err(error) => Check::warning("users", "", cluster.explain(&error)),
    });
}

/// Whether it answers, of which version it is, and what time it has.
async fn api_server(cluster: &Cluster) -> Result<[Check; 2], Check> {
    const NAME: &str = "api-server";
    let failed = |message: String| Check::failed(NAME, &cluster.url, message);
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(|e| failed(cluster.explain(&e)))?;
    let date = cluster.date().await.map_err(|e| failed(cluster.explain(&e)))?;
    Ok([
        Check::ok(
            NAME,
            &cluster.url,
            format!("answers, Kubernetes {}", version.git_version),
        ),
        Check::clock("API server", date, Timestamp::now()),
    ])
}

fn fleet(users: &[UserView]) -> Check {
    let number = |state| users.iter().filter(|u| u.state == state).count();
    let (stalled, unready) = (number(State::Stalled), number(State::NotReady));
    let all = count(users.len(), "user", "users");
    if stalled + unready == 0 {
        Check::ok("users", "", format!("{all}, all ready"))
    } else {
        Check::warning(
            "users",
            "",
            format!(
                "{all}, {stalled} stalled, {unready} not ready: `get --problems` shows them, `why NAME` explains"
            ),
        )
    }
}

fn table(diagnosis: &Diagnosis) -> String {
    let mut table = Table::new(["RESULT", "CHECK", "OF", "FOUND"]);
    for check in &diagnosis.checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        table.row([
            verdict.to_owned(),
            check.name.to_owned(),
            check.subject.clone(),
            check.message.clone(),
        ]);
    }
    let number = |name| diagnosis.counts.get(name).copied().unwrap_or_default();
    format!(
        "{}\n{}: {} ok, {}, {} failed\n",
        table.finish(),
        count(diagnosis.checks.len(), "check", "checks"),
        number("ok"),
        count(number("warning"), "warning", "warnings"),
        number("failed"),
    )
}
