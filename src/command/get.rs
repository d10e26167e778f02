//! `get`: the fleet, problems first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs, is_forbidden};
use super::objects;
use super::outcome::{Failure, Outcome, Report};
use super::output::{OutputArgs, Table, ago, clean, count, until};
use super::view::{State, UserView};

/// Flags of `get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this user, in the namespace of -n or of the context
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only users with a problem
    #[arg(long)]
    problems: bool,
    /// Only users of this class
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// The whole result.
#[derive(Serialize)]
struct Fleet {
    /// Users by state.
    counts: BTreeMap<State, usize>,
    users: Vec<UserView>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    let mut users = match &args.name {
        Some(name) => vec![UserView::new(&objects::user(&cluster, name).await?)],
        None => all(&cluster).await?,
    };
    users.retain(|u| !args.problems || u.state != State::Ready);
    users.retain(|u| args.class.as_ref().is_none_or(|c| *c == u.class_name));
    // The sort keeps the order by namespace and name within a state.
    users.sort_by_key(|u| u.state);
    let mut counts = BTreeMap::new();
    for user in &users {
        *counts.entry(user.state).or_default() += 1;
    }
    let now = Timestamp::now();
    let fleet = Fleet { counts, users };
    Ok(Report::new(args.output.render(&fleet, |f| table(f, now))))
}

async fn all(cluster: &Cluster) -> Result<Vec<UserView>, Failure> {
    objects::users(cluster, cluster.asked.as_deref()).await.map_err(|e| {
        if cluster.asked.is_none() && is_forbidden(&e) {
            Failure::Failed(format!(
                "you may not list the users of all namespaces: give one with -n, or ask for the chart's ClusterRole that ends in -auditor ({})",
                cluster.explain(&e)
            ))
        } else {
            cluster.failed("list the users", &e)
        }
    })
}

fn table(fleet: &Fleet, now: Timestamp) -> String {
    let mut table = Table::new([
        "NAMESPACE",
        "NAME",
        "READY",
        "REASON",
        "CLASS",
        "SECRET",
        "TOKEN",
        "TOKEN-AGE",
        "NEXT-ROTATION",
        "CONSUMERS",
    ]);
    for user in &fleet.users {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        table.row([
            user.namespace.clone(),
            user.name.clone(),
            user.ready.clone(),
            user.reason.clone(),
            user.class_name.clone(),
            text(&user.secret_name),
            text(&user.token_last_digits),
            user.token_issued_at.map(|t| ago(t, now)).unwrap_or_default(),
            user.next_rotation.map(|t| until(t, now)).unwrap_or_default(),
            user.readers(2),
        ]);
    }
    let mut text = table.finish();
    for user in fleet.users.iter().filter(|u| u.state <= State::NotReady) {
        let line = format!("{}: {}", user.path(), user.message);
        let _ = write!(text, "\n{}", clean(&line).replace('\n', " "));
    }
    let number = |state: State| fleet.counts.get(&state).copied().unwrap_or_default();
    let _ = writeln!(
        text,
        "\n{}: {} stalled, {} not ready, {} with a note, {} ready",
        count(fleet.users.len(), "user", "users"),
        number(State::Stalled),
        number(State::NotReady),
        number(State::Noted),
        number(State::Ready)
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Fleet, UserView, table};

    #[test]
    fn consumers_that_the_status_does_not_list_are_in_the_table() {
        let consumers: Vec<_> = ["a", "b", "c"]
            .map(|name| json!({"kind": "Deployment", "name": name}))
            .into();
        let object = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments"},
            "status": {"consumers": consumers, "moreConsumers": 48},
        }))
        .unwrap();
        let fleet = Fleet {
            counts: BTreeMap::new(),
            users: vec![UserView::new(&object)],
        };
        let text = table(&fleet, "2026-01-05T10:00:00Z".parse().unwrap());
        assert!(
            text.contains("Deployment/a, Deployment/b, and 49 more\n"),
            "{text}"
        );
    }
}
