//! Has a token replaced, and follows what the operator makes of it.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::api::{ApiResource, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::cluster::Cluster;
use super::outcome::{Failure, Outcome, Report, say};
use super::output::{OutputArgs, ago, clean};
use super::progress::Progress;
use super::view::{Old, State, UserView};
use super::{advice, objects};
use crate::api::{MANAGER, ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};

/// How long a user is watched that waits for a change by a person: by then the operator has seen a change that was made just now.
const UNMOVED: Duration = Duration::from_secs(10);

/// The request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Rotate,
    Revoke,
}

impl Wish {
    fn annotation(self) -> &'static str {
        match self {
            Self::Rotate => ROTATE_AT_ANNOTATION,
            Self::Revoke => REVOKE_NOW_ANNOTATION,
        }
    }

    /// Its place in [`UserView::handled`].
    fn place(self) -> usize {
        match self {
            Self::Rotate => 0,
            Self::Revoke => 1,
        }
    }
}

/// Whether to wait for the end.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct WaitArgs {
    /// Wait until the new token is in the Secret and works
    #[arg(long)]
    wait: bool,
    /// How long to wait; then the exit code is 3, and the operator continues
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = crate::cli::seconds::<1, 86_400>, requires = "wait")]
    timeout: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    namespace: String,
    name: String,
    annotation: &'static str,
    /// Value that the annotation has now.
    value: String,
    /// `requested`, `done`, `timedOut` or `stalled`.
    outcome: &'static str,
    /// Of `Ready`.
    reason: String,
    message: String,
    secret_name: Option<String>,
    previous_token_last_digits: Option<String>,
    token_last_digits: Option<String>,
    user_id: Option<String>,
    /// Users whose tokens still work, and until when.
    retiring: Vec<Old>,
}

/// How the following ended.
enum End {
    Done(UserView),
    Stalled(UserView),
    TimedOut(UserView),
}

pub(super) async fn replace(
    cluster: &Cluster,
    name: &str,
    wish: Wish,
    wait: WaitArgs,
    output: OutputArgs,
) -> Outcome {
    let before = UserView::new(&objects::user(cluster, name).await?);
    if before.deleting {
        return Err(Failure::Failed(format!(
            "{} is being deleted: {}",
            before.path(),
            before.token_after()
        )));
    }
    if let Some(note) = obstacle(&before) {
        say(&format!("note: {} {note}", before.path()));
    }
    let value = Timestamp::now().to_string();
    let asked = ask(cluster, name, wish, &value).await?;
    let mut result = Replaced {
        namespace: before.namespace.clone(),
        name: before.name.clone(),
        annotation: wish.annotation(),
        value: value.clone(),
        outcome: "requested",
        reason: before.reason.clone(),
        message: before.message.clone(),
        secret_name: before.secret_name.clone(),
        previous_token_last_digits: before.token_last_digits.clone(),
        token_last_digits: before.token_last_digits,
        user_id: before.user_id,
        retiring: before.retiring,
    };
    let healthy = if wait.wait {
        let end = follow(cluster, name, wish, &value, asked, wait.timeout).await?;
        let (outcome, view) = match end {
            End::Done(view) => ("done", view),
            End::Stalled(view) => ("stalled", view),
            End::TimedOut(view) => ("timedOut", view),
        };
        let acted_on = view.handled[wish.place()].clone();
        if let Some(later) = acted_on.filter(|v| outcome == "done" && *v != value) {
            say(&format!(
                "note: another request for a new token of {} came after yours, and the operator acted on that one: one new token answers both",
                view.path()
            ));
            result.value = later;
        }
        result.take(outcome, view);
        outcome == "done"
    } else {
        true
    };
    Ok(Report::of(
        output.render(&result, |r| r.sentence(wish, wait.timeout)),
        healthy,
    ))
}

/// What keeps the operator from acting on a request now.
fn obstacle(user: &UserView) -> Option<String> {
    if user.suspended {
        return Some("is suspended: the operator does nothing until spec.suspend is false".to_owned());
    }
    let (reason, message) = (user.state == State::Stalled).then(|| user.reason_and_message())?;
    Some(format!(
        "is stalled, and its token stays as it is until you correct this: {reason}: {message}"
    ))
}

/// Sets the annotation to a value that it never had.
async fn ask(cluster: &Cluster, name: &str, wish: Wish, value: &str) -> Result<UserView, Failure> {
    let api = objects::api::<ProgrammaticUser>(cluster, Some(&cluster.namespace));
    let patch = json!({"metadata": {"annotations": {wish.annotation(): value}}});
    let params = PatchParams {
        field_manager: Some(format!("{MANAGER}-command")),
        ..PatchParams::default()
    };
    let patched = api.patch(name, &params, &Patch::Merge(&patch)).await;
    patched
        .map(|object| UserView::new(&object))
        .map_err(|e| objects::no_user(cluster, name, "annotate", &e))
}

async fn follow(
    cluster: &Cluster,
    name: &str,
    wish: Wish,
    value: &str,
    asked: UserView,
    patience: Duration,
) -> Result<End, Failure> {
    let kind = ApiResource::erase::<ProgrammaticUser>(&());
    let api = Api::<DynamicObject>::namespaced_with(cluster.watching.clone(), &cluster.namespace, &kind);
    let mut progress = Progress::spinner();
    let earlier = asked.handled[wish.place()].clone();
    let mut last = asked;
    let deadline = Instant::now() + patience;
    let mut looked = Instant::now();
    progress.report(format!("{}: requested", last.path()));
    let mut changes = pin!(watch_object(api, name).default_backoff());
    loop {
        let until = if last.waits_for_a_change() {
            deadline.min(looked + UNMOVED)
        } else {
            deadline
        };
        let left = until.saturating_duration_since(Instant::now());
        let change = match timeout(left, changes.try_next()).await {
            Err(_) if last.waits_for_a_change() => return Ok(End::Stalled(last)),
            Err(_) => return Ok(End::TimedOut(last)),
            Ok(Ok(Some(change))) => change,
            Ok(Ok(None)) => continue,
            Ok(Err(error)) => {
                if let Some(refusal) = refusal(&error) {
                    return Err(cluster.failed(&format!("watch {}", last.path()), refusal));
                }
                progress.report("the API server does not answer; trying again");
                continue;
            }
        };
        let Some(object) = change else {
            return Err(Failure::Failed(format!(
                "{} was deleted: {}",
                last.path(),
                last.token_after()
            )));
        };
        let view = UserView::new(&object);
        let old = view.version == last.version;
        let handled = is_handled(&object, &view, wish, value, earlier.as_deref());
        if handled && is_done(&view, wish) {
            return Ok(End::Done(view));
        }
        // What the operator said before the request says nothing about it.
        if !old && view.state == State::Stalled {
            return Ok(End::Stalled(view));
        }
        let stage = stage(&object, &view, wish, handled);
        progress.report(format!("{}: {stage}", view.path()));
        (last, looked) = (view, Instant::now());
    }
}

/// Whether the operator acted on our value, or on that of a later request: one new token answers both.
/// A value that it had acted on before us, `earlier`, may have been put back, and replaces nothing.
fn is_handled(
    object: &DynamicObject,
    view: &UserView,
    wish: Wish,
    value: &str,
    earlier: Option<&str>,
) -> bool {
    let handled = view.handled[wish.place()].as_deref();
    let asked = object.annotations().get(wish.annotation());
    let later = handled.is_some() && handled == asked.map(String::as_str) && handled != earlier;
    handled == Some(value) || later
}

/// Whether nothing of what was acted on is left to do.
fn is_done(view: &UserView, wish: Wish) -> bool {
    view.ready == "True"
        && !view.is_rotating()
        && view.token_last_digits.is_some()
        // A revoked token is dead when its user is gone.
        && (wish == Wish::Rotate || view.retiring.is_empty())
}

fn stage(object: &DynamicObject, view: &UserView, wish: Wish, handled: bool) -> String {
    let pending = object.data.pointer("/status/journal/pending").is_some();
    if handled {
        if wish == Wish::Revoke && !view.retiring.is_empty() {
            "the Secret has the new token; the operator deletes the old one".to_owned()
        } else {
            "the Secret has the new token".to_owned()
        }
    } else if pending || view.is_rotating() {
        "the operator creates a new user".to_owned()
    } else if view.ready == "True" && view.reason == "Ready" {
        "waiting for the operator".to_owned()
    } else {
        format!("waiting: {} ({})", view.reason, view.message)
    }
}

/// What a watch cannot get over.
fn refusal(error: &watcher::Error) -> Option<&kube::Error> {
    let (watcher::Error::InitialListFailed(inner) | watcher::Error::WatchStartFailed(inner)) = error else {
        return None;
    };
    matches!(inner, kube::Error::Api(s) if [401, 403, 404].contains(&s.code)).then_some(inner)
}

impl Replaced {
    fn take(&mut self, outcome: &'static str, view: UserView) {
        self.outcome = outcome;
        (self.reason, self.message) = if outcome == "stalled" {
            view.reason_and_message()
        } else {
            (view.reason, view.message)
        };
        self.secret_name = view.secret_name;
        self.token_last_digits = view.token_last_digits;
        self.user_id = view.user_id;
        self.retiring = view.retiring;
    }

    fn sentence(&self, wish: Wish, patience: Duration) -> String {
        let path = format!("{}/{}", self.namespace, self.name);
        let secret = self.secret_name.as_deref().unwrap_or("-");
        let digits = |d: &Option<String>| d.clone().unwrap_or_else(|| "-".to_owned());
        let (old, new) = (
            digits(&self.previous_token_last_digits),
            digits(&self.token_last_digits),
        );
        let text = match self.outcome {
            "requested" => format!(
                "{path}: requested a new token. `why {} -n {}` shows the progress; --wait waits for it.",
                self.name, self.namespace
            ),
            "done" if wish == Wish::Revoke => {
                format!(
                    "{path}: Secret {secret} has a new token, which ends in {new}; the old one ({old}) is dead."
                )
            }
            "done" => {
                let valid = self.retiring.iter().filter_map(|o| o.not_before).max();
                let until =
                    valid.map_or_else(|| "is dead".to_owned(), |at| format!("stays valid until {at:.0}"));
                format!(
                    "{path}: Secret {secret} has a new token, which ends in {new}; the old one ({old}) {until}."
                )
            }
            outcome => {
                let lead = if outcome == "stalled" {
                    "the operator waits for a change".to_owned()
                } else {
                    let now = Timestamp::now();
                    let since = now.checked_sub(patience).unwrap_or(now);
                    format!("not done after {}; the operator continues", ago(since, now))
                };
                let what = advice::about(&self.reason)
                    .map(|a| format!("\nWhat to do: {}", a.text))
                    .unwrap_or_default();
                format!("{path}: {lead}. {}: {}{what}", self.reason, self.message)
            }
        };
        format!("{}\n", clean(&text))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DynamicObject;
    use serde_json::json;

    use super::{ROTATE_AT_ANNOTATION, UserView, Wish, is_done, is_handled};

    fn object(asked: &str, handled: Option<&str>) -> DynamicObject {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready"});
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments", "generation": 1,
                "annotations": {ROTATE_AT_ANNOTATION: asked}},
            "status": {"observedGeneration": 1, "conditions": [ready], "tokenLastDigits": "9f3c",
                "lastHandledRotateAt": handled},
        }))
        .unwrap()
    }

    #[test]
    fn a_later_request_answers_for_both() {
        // The annotation's value, the handled value, and the value handled before our request.
        for (asked, handled, earlier, answered) in [
            ("ours", None, None, false),
            ("ours", Some("old"), Some("old"), false),
            ("ours", Some("ours"), Some("old"), true),
            // Asked for before us, and finished after it.
            ("ours", Some("before"), Some("old"), false),
            ("later", None, None, false),
            ("later", Some("old"), Some("old"), false),
            ("later", Some("ours"), Some("old"), true),
            ("later", Some("later"), Some("old"), true),
            ("later", Some("later"), None, true),
            // Ours was removed before the operator observed it.
            ("old", Some("old"), Some("old"), false),
        ] {
            let object = object(asked, handled);
            let view = UserView::new(&object);
            assert!(is_done(&view, Wish::Rotate));
            let found = is_handled(&object, &view, Wish::Rotate, "ours", earlier);
            assert_eq!(found, answered, "{asked}, {handled:?}, {earlier:?}");
            assert!(!is_handled(&object, &view, Wish::Revoke, "ours", earlier));
        }
    }
}
