//! `why`: in sentences, why a user is not ready, and what to do.

mod facts;

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs};
use super::outcome::{Outcome, Report};
use super::output::{OutputArgs, ago, clean, one_line};
use super::platform::OperatorArgs;
use super::view::{ConditionView, NOT_OBSERVED, State, UserView};
use super::{advice, objects, operator};
use crate::api::{ACCESS_APPLIED, READY, RECONCILING, SECRET_PUBLISHED, STALLED};
use facts::Fact;

/// Flags of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user, in the namespace of -n or of the context
    #[arg(value_name = "NAME")]
    name: String,
    /// Name of the operator's Lease
    #[arg(long, value_name = "NAME", default_value = operator::LEASE)]
    lease_name: String,
    /// Where the operator is.
    #[command(flatten)]
    operator: OperatorArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// One reason, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Explained {
    reason: String,
    /// Such as `stalled` or `tried again`.
    course: String,
    text: String,
}

/// An Event about the object.
#[derive(Debug, Serialize)]
struct EventLine {
    time: Option<Timestamp>,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    note: String,
}

/// The whole result.
#[derive(Debug, Serialize)]
struct Answer {
    namespace: String,
    name: String,
    state: State,
    ready: String,
    reason: String,
    message: String,
    since: Option<Timestamp>,
    advice: Vec<Explained>,
    facts: Vec<Fact>,
    conditions: Vec<ConditionView>,
    events: Vec<EventLine>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    let object = objects::user(&cluster, &args.name).await?;
    let view = UserView::new(&object);
    let facts = facts::gather(
        &cluster,
        &object,
        &view,
        &args.operator.operator_namespace,
        &args.lease_name,
    )
    .await;
    let (events, event_facts) = match events(&cluster, &view).await {
        Ok(events) => (events, None),
        Err(error) => (
            Vec::new(),
            Some(Fact::unknown("Events", &view.name, cluster.explain(&error))),
        ),
    };
    let answer = Answer {
        advice: explain(&view, &args.operator.operator_namespace),
        since: view
            .conditions
            .iter()
            .find(|c| c.kind == READY)
            .and_then(|c| c.since),
        facts: facts.into_iter().chain(event_facts).collect(),
        namespace: view.namespace.clone(),
        name: view.name.clone(),
        state: view.state,
        ready: view.ready.clone(),
        reason: view.reason.clone(),
        message: view.message.clone(),
        conditions: view.conditions.clone(),
        events,
    };
    let healthy = answer.ready == "True";
    let now = Timestamp::now();
    Ok(Report::of(
        args.output.render(&answer, |a| sentences(a, &view, now)),
        healthy,
    ))
}

/// Every reason that is given, explained once.
fn explain(view: &UserView, operator_namespace: &str) -> Vec<Explained> {
    let mut all: Vec<Explained> = Vec::new();
    if view.reason == NOT_OBSERVED {
        all.push(Explained {
            reason: view.reason.clone(),
            course: "waits".to_owned(),
            text: format!(
                "is the operator running (`kubectl -n {operator_namespace} get pods`), and does it watch this namespace (the chart's rbac.namespaces, --watch-namespace)? `doctor` checks that"
            ),
        });
    }
    let given = view
        .conditions
        .iter()
        .filter(|c| {
            c.status == "True" || [READY, SECRET_PUBLISHED, ACCESS_APPLIED].contains(&c.kind.as_str())
        })
        .flat_map(|c| [&c.reason, &c.kind]);
    for reason in [&view.reason].into_iter().chain(given) {
        if let Some(found) = advice::about(reason).filter(|_| all.iter().all(|e| e.reason != *reason)) {
            all.push(Explained {
                reason: reason.clone(),
                course: found.course.to_owned(),
                text: found.text.to_owned(),
            });
        }
    }
    all
}

/// Events about this object, the latest last.
async fn events(cluster: &Cluster, view: &UserView) -> Result<Vec<EventLine>, kube::Error> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &view.namespace);
    let params = ListParams::default().fields(&format!(
        "regarding.kind=ProgrammaticUser,regarding.name={}",
        view.name
    ));
    let mut found = objects::list(&api, params).await?;
    // One of the same name may have been here before.
    found.retain(|e| {
        let uid = e.regarding.as_ref().and_then(|r| r.uid.as_deref());
        uid.is_none_or(|uid| uid == view.uid)
    });
    let time = |e: &Event| {
        let series = e.series.as_ref().map(|s| s.last_observed_time.0);
        let single = e.event_time.as_ref().map(|t| t.0);
        let old = e.deprecated_last_timestamp.as_ref().map(|t| t.0);
        series
            .or(single)
            .or(old)
            .or(e.metadata.creation_timestamp.as_ref().map(|t| t.0))
    };
    found.sort_by_cached_key(|e| (time(e), e.name_any()));
    let shown = found.into_iter().map(|e| EventLine {
        time: time(&e),
        kind: e.type_.unwrap_or_default(),
        reason: e.reason.unwrap_or_default(),
        note: e.note.unwrap_or_default(),
    });
    Ok(shown.collect())
}

fn lead(answer: &Answer, view: &UserView, now: Timestamp) -> String {
    let path = view.path();
    let since = answer
        .since
        .map(|at| format!(", since {}", ago(at, now)))
        .unwrap_or_default();
    let reason = &answer.reason;
    match answer.state {
        State::Ready => format!("{path} is ready{since}."),
        State::Noted if *reason == READY => format!("{path} is ready, with a note."),
        State::Noted => format!("{path} is ready, its token works; the requested change waits: {reason}."),
        State::NotReady if view.is(RECONCILING).is_some() => {
            format!("{path} is not ready; the operator works on it: {reason}{since}.")
        }
        State::NotReady => format!("{path} is not ready: {reason}{since}."),
        State::Stalled if answer.ready == "True" => {
            format!("{path} is ready, its token works; the requested change waits until you act: {reason}.")
        }
        State::Stalled => format!("{path} is not ready, and stays so until you act: {reason}{since}."),
    }
}

fn sentences(answer: &Answer, view: &UserView, now: Timestamp) -> String {
    let mut text = format!("{}\n", lead(answer, view, now));
    let mut said: Vec<&str> = vec![];
    for message in std::iter::once(&answer.message).chain(notes(view)) {
        if !message.is_empty() && !said.contains(&message.as_str()) {
            said.push(message);
            let _ = writeln!(text, "  {}", one_line(message));
        }
    }
    if view.deleting {
        let _ = writeln!(text, "  It is being deleted.");
    }
    if !answer.advice.is_empty() {
        text.push_str("\nWhat it means, what to do:\n");
        for one in &answer.advice {
            let _ = writeln!(text, "  {} ({}): {}", one.reason, one.course, one.text);
        }
    }
    text.push_str("\nWhat it depends on:\n");
    for fact in &answer.facts {
        let _ = writeln!(
            text,
            "  {} {} {}: {}",
            fact.mark(),
            fact.kind,
            fact.name,
            one_line(&fact.message)
        );
    }
    if !answer.events.is_empty() {
        text.push_str("\nEvents:\n");
        for event in &answer.events {
            let when = event
                .time
                .map(|t| format!("{} ago", ago(t, now)))
                .unwrap_or_default();
            // The text of an Event must not pass for a line of ours: many may write Events.
            let [kind, reason, note] = [&event.kind, &event.reason, &event.note].map(|t| one_line(t));
            let _ = writeln!(text, "  {when}: {kind} {reason}: {note}");
        }
    }
    clean(&text)
}

/// What other conditions say that are true only while there is something to say.
fn notes(view: &UserView) -> impl Iterator<Item = &String> {
    let usual = [READY, SECRET_PUBLISHED, ACCESS_APPLIED];
    view.conditions
        .iter()
        .filter(move |c| {
            let usual = usual.contains(&c.kind.as_str());
            (usual && c.status == "False") || (!usual && c.status == "True" && c.kind != STALLED)
        })
        .map(|c| &c.message)
}
