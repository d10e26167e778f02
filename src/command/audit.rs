//! `audit`: who did what on the platform, by type of actor.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::cluster::ClusterArgs;
use super::objects;
use super::outcome::{Failure, Outcome, Report, say};
use super::output::{OutputArgs, Table, count};
use super::platform::{EndpointArgs, PlatformArgs, Reached, connect};
use super::view::UserView;
use crate::plan::Marker;
use crate::platform::{ActorType, AuditEvent, AuditQuery, UserSummary, UserType, parse_time};

/// How far the platform's clock may be before ours, without an event being missed.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Flags of `audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What this type of actor did only
    #[arg(long, value_enum, value_name = "TYPE")]
    actor_type: Option<Kind>,
    /// What this actor did only: a name or id on the platform, or NAMESPACE/NAME of its object
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// What happened in this account only
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// What happened since: a span such as 30m, 24h or 7d, or a time such as 2026-01-05T10:00:00Z
    #[arg(long, default_value = "24h", value_name = "SPAN")]
    since: Since,
    /// The platform.
    #[command(flatten)]
    platform: PlatformArgs,
    /// The platform without a cluster.
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Types of actors to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// People, by the console or with a token of their own
    Ui,
    /// Users that reach the platform by API only
    Programmatic,
    /// The platform itself
    System,
    /// A caller with a credential that the platform does not know
    Anonymous,
}

impl From<Kind> for ActorType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ui => Self::Ui,
            Kind::Programmatic => Self::Programmatic,
            Kind::System => Self::System,
            Kind::Anonymous => Self::Anonymous,
        }
    }
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Span(Duration),
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        let days = text.strip_suffix('d').and_then(|d| d.parse::<u64>().ok());
        let span = match days {
            Some(days) => days.checked_mul(86_400).map(Duration::from_secs),
            None => crate::api::Duration::parse(text).map(crate::api::Duration::get),
        };
        span.map(Self::Span).ok_or_else(|| {
            "give a span such as 30m, 24h or 7d, or a time such as 2026-01-05T10:00:00Z".to_owned()
        })
    }
}

impl Since {
    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Span(span) => SignedDuration::try_from(span)
                .ok()
                .and_then(|s| now.checked_sub(s).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    time: Option<Timestamp>,
    actor_type: ActorType,
    actor: String,
    actor_id: Option<String>,
    token_last_digits: Option<String>,
    /// The `ProgrammaticUser` that the actor belongs to, as `NAMESPACE/NAME`.
    object: Option<String>,
    action: String,
    resource_type: Option<String>,
    resource_id: Option<String>,
    account_id: Option<String>,
    result: Option<String>,
    status: Option<u16>,
    source: Option<String>,
    agent: Option<String>,
    /// How many requests it stands for.
    requests: Option<u64>,
    peer: Option<String>,
    request_id: Option<String>,
}

/// The whole result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trail {
    platform: String,
    since: Timestamp,
    /// Events by type of actor.
    counts: BTreeMap<&'static str, usize>,
    events: Vec<Event>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let since = args.since.before(Timestamp::now());
    let (reached, users) = reach(&args).await?;
    let kind = args.actor_type.map(ActorType::from);
    let query = AuditQuery {
        from: since,
        to: Timestamp::now().saturating_add(AHEAD).unwrap_or(Timestamp::MAX),
        account: args.account.clone(),
        actor_type: kind,
    };
    let rows = reached.client.audit(&query).await.map_err(|e| {
        if e.code == "UnexpectedReply" && e.message.contains("too large") {
            Failure::Failed(format!("{}: {e}; give a shorter --since", reached.name))
        } else {
            reached.failed("read the audit log", &e)
        }
    })?;
    let known = if rows.iter().any(|e| e.actor_type.is_none()) {
        // The published API does not name the type; the list of users shows it.
        let listed = reached.client.list_users().await;
        listed.map_err(|e| reached.failed("list the users, to know the types of actors", &e))?
    } else {
        Vec::new()
    };
    let mut events: Vec<Event> = rows.into_iter().map(|e| event(e, &known, &users)).collect();
    if let Some(actor) = &args.actor {
        events.retain(|e| e.is_of(actor));
        let object = users.values().any(|path| path == actor);
        if events.is_empty() && actor.contains('/') && !object {
            say(&format!(
                "note: the cluster has no object {actor}: if it was deleted, give the name or id of its user"
            ));
        }
    }
    if let Some(kind) = kind {
        let unknown = events
            .iter()
            .filter(|e| e.actor_type == ActorType::Unknown)
            .count();
        if unknown > 0 && kind != ActorType::Unknown {
            say(&format!(
                "note: {} left out whose type of actor the platform does not name",
                count(unknown, "event is", "events are")
            ));
        }
        events.retain(|e| e.actor_type == kind);
    }
    events.sort_by_key(|e| e.time);
    let mut counts = BTreeMap::new();
    for event in &events {
        *counts.entry(event.actor_type.name()).or_default() += 1;
    }
    let trail = Trail {
        platform: reached.url.clone(),
        since,
        counts,
        events,
    };
    Ok(Report::new(args.output.render(&trail, table)))
}

/// The platform, and the users of the cluster by the digest in their markers, as far as there is a cluster.
async fn reach(args: &Args) -> Result<(Reached, BTreeMap<String, String>), Failure> {
    if let Some(reached) = args.endpoint.connect() {
        return Ok((reached?, BTreeMap::new()));
    }
    let cluster = args.cluster.connect().await?;
    let organization = objects::organization(&cluster, args.platform.organization.as_deref()).await?;
    let reached = connect(&cluster, &args.platform, &organization).await?;
    let users = match objects::users(&cluster, cluster.asked.as_deref()).await {
        Ok(users) => users,
        Err(error) => {
            say(&format!(
                "note: the names of objects are missing: {}",
                cluster.explain(&error)
            ));
            Vec::new()
        }
    };
    let named = |u: &UserView| (u.digest(), u.path());
    Ok((reached, users.iter().map(named).collect()))
}

impl Event {
    fn is_of(&self, actor: &str) -> bool {
        let shown = display_name(&self.actor);
        self.actor == actor
            || shown == actor
            || self.actor_id.as_deref() == Some(actor)
            || self.object.as_deref() == Some(actor)
    }
}

/// A name without the operator's marker.
fn display_name(name: &str) -> &str {
    match Marker::parse(name) {
        Some(_) => name.rsplit_once("/k8s.").map_or(name, |(shown, _)| shown),
        None => name,
    }
}

fn event(row: AuditEvent, known: &[UserSummary], objects: &BTreeMap<String, String>) -> Event {
    let actor_type = row.actor_type.unwrap_or_else(|| guess(&row, known));
    let marker = Marker::parse(&row.user);
    Event {
        time: parse_time(&row.created_at),
        actor_type,
        object: marker.and_then(|m| m.find(objects).cloned()),
        actor: row.user,
        actor_id: row.actor_id,
        token_last_digits: row.token_last_digits,
        action: row.action_type,
        resource_type: row.resource_type,
        resource_id: row.resource_id,
        account_id: row.account_id,
        result: row.result,
        status: row.response_status,
        source: row.source,
        agent: row.agent,
        requests: row.requests,
        peer: row.peer,
        request_id: row.request_id,
    }
}

/// The type of an actor that the platform does not name, if the list of users leaves no doubt.
fn guess(row: &AuditEvent, known: &[UserSummary]) -> ActorType {
    let is_actor = |u: &&UserSummary| {
        u.user_id == row.user
            || (!row.user.is_empty() && (u.username == row.user || u.email.as_deref() == Some(&*row.user)))
    };
    let mut types: Vec<UserType> = known.iter().filter(is_actor).map(|u| u.user_type).collect();
    types.dedup();
    match types.as_slice() {
        [UserType::Programmatic] => ActorType::Programmatic,
        [UserType::Personal] => ActorType::Ui,
        _ if row.source.as_deref() == Some("UI") => ActorType::Ui,
        // Replaced since, and so in no list any more: only an operator writes markers into names.
        [] if Marker::parse(&row.user).is_some() => ActorType::Programmatic,
        _ => ActorType::Unknown,
    }
}

fn table(trail: &Trail) -> String {
    let mut table = Table::new([
        "TIME", "TYPE", "ACTOR", "TOKEN", "OBJECT", "ACTION", "RESOURCE", "ACCOUNT", "RESULT",
    ]);
    for event in &trail.events {
        let status = event.status.map(|s| s.to_string()).unwrap_or_default();
        let mut result = match &event.result {
            Some(result) => format!("{result} {status}"),
            None => status,
        };
        if let Some(many) = event.requests.filter(|many| *many > 1) {
            result = format!("{result}, {many} times");
        }
        let resource = [&event.resource_type, &event.resource_id];
        let resource: Vec<&str> = resource.into_iter().filter_map(|r| r.as_deref()).collect();
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        table.row([
            event.time.map(|t| format!("{t:.0}")).unwrap_or_default(),
            event.actor_type.name().to_owned(),
            display_name(&event.actor).to_owned(),
            text(&event.token_last_digits),
            text(&event.object),
            event.action.clone(),
            resource.join("/"),
            text(&event.account_id),
            result,
        ]);
    }
    let mut by_type: Vec<String> = trail.counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
    if by_type.is_empty() {
        by_type.push("nothing".to_owned());
    }
    let total = count(trail.events.len(), "event", "events");
    format!(
        "{}\n{total} since {:.0} at {}: {}\n",
        table.finish(),
        trail.since,
        super::output::clean(&trail.platform),
        by_type.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ActorType, AuditEvent, Since, UserSummary, display_name, guess};

    #[test]
    fn since_is_a_span_or_a_time() {
        assert_eq!("7d".parse(), Ok(Since::Span(Duration::from_hours(168))));
        assert_eq!("1h30m".parse(), Ok(Since::Span(Duration::from_mins(90))));
        assert!(matches!("2026-01-05T10:00:00Z".parse(), Ok(Since::Time(_))));
        for wrong in ["", "d", "yesterday", "-1h", "999999999999999999999d"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_marker_is_not_shown() {
        assert_eq!(display_name("ci/k8s.abcdef.abcdefgh.aaaabbbbccccdddd"), "ci");
        assert_eq!(display_name("team/ci"), "team/ci");
    }

    #[test]
    fn types_are_guessed_only_without_doubt() {
        let users: Vec<UserSummary> = serde_json::from_str(
            r#"[{"userId":"pu-1","username":"ci","type":"programmatic"},
                {"userId":"u-1","username":"Ann","email":"ann@x.io","type":"personal"},
                {"userId":"pu-2","username":"twin","type":"programmatic"},
                {"userId":"u-2","username":"twin","type":"personal"}]"#,
        )
        .unwrap();
        let by = |user: &str, source: &str| {
            let text = format!(r#"{{"user":"{user}","source":"{source}"}}"#);
            let row: AuditEvent = serde_json::from_str(&text).unwrap();
            guess(&row, &users)
        };
        assert_eq!(by("ci", "API"), ActorType::Programmatic);
        assert_eq!(by("ann@x.io", "API"), ActorType::Ui);
        assert_eq!(by("twin", "API"), ActorType::Unknown);
        assert_eq!(by("gone", "API"), ActorType::Unknown);
        assert_eq!(by("gone", "UI"), ActorType::Ui);
        // Replaced since.
        let replaced = "ci/k8s.abcdef.abcdefgh.aaaabbbbccccdddd";
        assert_eq!(by(replaced, "API"), ActorType::Programmatic);
    }
}
