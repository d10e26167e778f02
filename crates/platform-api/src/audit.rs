//! The audit log on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of actor did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActorType {
    /// A console user, in the console or with a token of its own.
    #[serde(rename = "UI")]
    Ui,
    /// A user that reaches the platform by API only.
    Programmatic,
    /// The platform itself.
    System,
    /// A caller whose credential the platform does not know.
    Anonymous,
    /// The platform sends no type, or one of its own.
    #[serde(other)]
    Unknown,
}

impl ActorType {
    /// As the platform and the commands write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ui => "UI",
            Self::Programmatic => "Programmatic",
            Self::System => "System",
            Self::Anonymous => "Anonymous",
            Self::Unknown => "Unknown",
        }
    }
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    /// The earliest.
    pub from: Timestamp,
    /// The latest.
    pub to: Timestamp,
    /// Only what happened in this account.
    pub account: Option<String>,
    /// Only what this kind of actor did. Not in the published description: a platform that does not know it answers
    /// with all kinds.
    pub actor_type: Option<ActorType>,
}

impl AuditQuery {
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("fromDate", self.from.as_millisecond().to_string()),
            ("toDate", self.to.as_millisecond().to_string()),
            ("responseStatus", "all".to_owned()),
        ];
        pairs.extend(self.account.iter().map(|id| ("accountId", id.clone())));
        let kind = self.actor_type.filter(|t| *t != ActorType::Unknown);
        pairs.extend(kind.map(|t| ("actorType", t.name().to_owned())));
        pairs
    }
}

/// One event of `GET /audit/events`.
///
/// The published description ends with `agent` and `responseStatus`; the embedded platform sends the rest.
/// `context`, which may hold the body of a request, is left where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// See [`super::parse_time`].
    #[serde(default)]
    pub created_at: String,
    /// Name of the actor.
    #[serde(default)]
    pub user: String,
    /// Such as `createProgrammaticUser`.
    #[serde(default)]
    pub action_type: String,
    /// Such as `user`.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// Its id.
    #[serde(default)]
    pub resource_id: Option<String>,
    /// `UI` or `API`.
    #[serde(default)]
    pub source: Option<String>,
    /// The client's name.
    #[serde(default)]
    pub agent: Option<String>,
    /// HTTP status of the answer.
    #[serde(default)]
    pub response_status: Option<u16>,
    /// What kind of actor.
    #[serde(default)]
    pub actor_type: Option<ActorType>,
    /// `u-…` or `pu-…`
    #[serde(default)]
    pub actor_id: Option<String>,
    /// Last four characters of the token that was used.
    #[serde(default)]
    pub token_last_digits: Option<String>,
    /// Account in which it happened.
    #[serde(default)]
    pub account_id: Option<String>,
    /// `success`, `refused` or `failed`.
    #[serde(default)]
    pub result: Option<String>,
    /// How many requests it stands for, if the platform counts some together.
    #[serde(default)]
    pub requests: Option<u64>,
    /// The address or network that the request came from.
    #[serde(default)]
    pub peer: Option<String>,
    /// For the platform's support.
    #[serde(default)]
    pub request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{ActorType, AuditEvent, AuditQuery};

    #[test]
    fn what_the_published_description_has_is_enough() {
        let text = r#"{"user":"a@b.c","namespace":"acme","actionType":"createGroup","resourceType":"group",
            "resourceId":"g","createdAt":"2026-01-05T10:11:12.000+0000","context":"{}","source":"UI","agent":"x",
            "responseStatus":200}"#;
        let event: AuditEvent = serde_json::from_str(text).unwrap();
        assert_eq!((event.actor_type, event.response_status), (None, Some(200)));
    }

    #[test]
    fn a_word_that_is_not_known_is_no_error() {
        let event: AuditEvent = serde_json::from_str(r#"{"actorType":"Robot"}"#).unwrap();
        assert_eq!(event.actor_type, Some(ActorType::Unknown));
    }

    #[test]
    fn the_query_has_what_was_asked_for() {
        let query = AuditQuery {
            from: "2026-01-05T10:11:12.345Z".parse().unwrap(),
            to: "2026-01-06T00:00:00Z".parse().unwrap(),
            account: Some("act-1".to_owned()),
            actor_type: Some(ActorType::Programmatic),
        };
        let pairs: Vec<_> = query
            .pairs()
            .into_iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            pairs.join("&"),
            "fromDate=1767607872345&toDate=1767657600000&responseStatus=all&accountId=act-1&actorType=Programmatic"
        );
    }
}
