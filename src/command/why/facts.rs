//! What a user depends on, and how that is.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::api::{
    MANAGED_BY_LABEL, MANAGER, Organization, ProgrammaticUserClass, RETAINED_LABEL, USER_ID_ANNOTATION,
};
use crate::command::cluster::Cluster;
use crate::command::objects;
use crate::command::operator::{self, Leader};
use crate::command::output::{ago, until};
use crate::command::view::UserView;

/// One thing that a user depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fact {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// `None` if it is not known.
    pub(super) ok: Option<bool>,
    pub(super) message: String,
}

impl Fact {
    fn good(kind: &'static str, name: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            ok: Some(true),
            message: message.into(),
        }
    }

    fn bad(kind: &'static str, name: &str, message: impl Into<String>) -> Self {
        Self {
            ok: Some(false),
            ..Self::good(kind, name, message)
        }
    }

    pub(super) fn unknown(kind: &'static str, name: &str, message: impl Into<String>) -> Self {
        Self {
            ok: None,
            ..Self::good(kind, name, message)
        }
    }

    /// Before the line.
    pub(super) fn mark(&self) -> &'static str {
        match self.ok {
            Some(true) => "ok",
            Some(false) => "!!",
            None => "??",
        }
    }
}

/// Reads all of it. What may not be read is said to be so.
pub(super) async fn gather(
    cluster: &Cluster,
    object: &DynamicObject,
    view: &UserView,
    operator_namespace: &str,
    lease: &str,
) -> Vec<Fact> {
    let (class, organization) = class(cluster, view).await;
    let name = organization.or_else(|| view.organization_name.clone());
    let mut facts = vec![class];
    if let Some(name) = name {
        facts.push(self::organization(cluster, &name).await);
    }
    facts.push(secret(cluster, object, view).await);
    if let Some(token) = token(view) {
        facts.push(token);
    }
    facts.push(self::operator(cluster, operator_namespace, lease).await);
    facts
}

/// The class, and the organization that it names.
async fn class(cluster: &Cluster, view: &UserView) -> (Fact, Option<String>) {
    const KIND: &str = "ProgrammaticUserClass";
    let name = &view.class_name;
    let found = objects::api::<ProgrammaticUserClass>(cluster, None)
        .get_opt(name)
        .await;
    let class = match found {
        Ok(Some(class)) => class,
        Ok(None) => return (Fact::bad(KIND, name, "does not exist"), None),
        Err(error) => return (Fact::unknown(KIND, name, cluster.explain(&error)), None),
    };
    let spec = &class.data["spec"];
    let organization = spec["organizationName"].as_str().unwrap_or_default().to_owned();
    let holds = |list: &Value, what: &str| list.as_array().is_some_and(|l| l.iter().any(|v| v == what));
    let labels = spec["namespaces"]["matchLabels"]
        .as_object()
        .is_some_and(|l| !l.is_empty());
    let fact = if !holds(&spec["namespaces"]["matchNames"], &view.namespace) && !labels {
        Fact::bad(KIND, name, format!("is not open to namespace {}", view.namespace))
    } else if !holds(&spec["scopes"], &view.scope) {
        Fact::bad(KIND, name, format!("does not allow scope {}", view.scope))
    } else {
        Fact::good(KIND, name, format!("exists, of Organization {organization}"))
    };
    (fact, Some(organization))
}

async fn organization(cluster: &Cluster, name: &str) -> Fact {
    const KIND: &str = "Organization";
    let found = objects::api::<Organization>(cluster, None).get_opt(name).await;
    let organization = match found {
        Ok(Some(organization)) => organization,
        Ok(None) => return Fact::bad(KIND, name, "does not exist"),
        Err(error) => return Fact::unknown(KIND, name, cluster.explain(&error)),
    };
    let conditions = organization.data["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
    let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
    match ready {
        Some(c) if c["status"] == "True" => Fact::good(KIND, name, "is ready"),
        Some(c) => Fact::bad(
            KIND,
            name,
            format!("is not ready: {}: {}", text(c, "reason"), text(c, "message")),
        ),
        None => Fact::bad(KIND, name, "has no status: the operator has not observed it"),
    }
}

/// By its metadata only: no command reads a tenant's token.
async fn secret(cluster: &Cluster, object: &DynamicObject, view: &UserView) -> Fact {
    const KIND: &str = "Secret";
    let name = view.wanted_secret(object);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &view.namespace);
    let secret = match secrets.get_metadata_opt(&name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => return Fact::bad(KIND, &name, "is not there"),
        Err(error) => return Fact::unknown(KIND, &name, cluster.explain(&error)),
    };
    if secret.labels().get(MANAGED_BY_LABEL).map(String::as_str) != Some(MANAGER) {
        return Fact::bad(
            KIND,
            &name,
            "exists, and was not made by the operator, which does not change it",
        );
    }
    if secret.labels().contains_key(RETAINED_LABEL) {
        return Fact::bad(
            KIND,
            &name,
            "was retained when another object was deleted, and has no owner",
        );
    }
    let owners = secret.owner_references();
    if !owners.iter().any(|o| o.uid == view.uid) {
        return Fact::bad(KIND, &name, "belongs to another ProgrammaticUser");
    }
    let carries = secret.annotations().get(USER_ID_ANNOTATION);
    if carries.is_some() && carries == view.user_id.as_ref() {
        Fact::good(KIND, &name, "carries the token of the current user")
    } else {
        Fact::bad(KIND, &name, "does not carry the token of the current user")
    }
}

fn token(view: &UserView) -> Option<Fact> {
    let issued = view.token_issued_at?;
    let now = Timestamp::now();
    let next = view.next_rotation.map_or_else(
        || "not replaced by age".to_owned(),
        |at| format!("replaced {}", until(at, now)),
    );
    let digits = view.token_last_digits.as_deref().unwrap_or("-");
    let old = match view.retiring.len() {
        0 => String::new(),
        n => format!("; {n} older still valid"),
    };
    Some(Fact::good(
        "Token",
        digits,
        format!("{} old, {next}{old}", ago(issued, now)),
    ))
}

async fn operator(cluster: &Cluster, namespace: &str, lease: &str) -> Fact {
    const KIND: &str = "Lease";
    let name = format!("{namespace}/{lease}");
    match operator::leader(cluster, namespace, lease).await {
        Ok(Leader::Leads(message)) => Fact::good(KIND, &name, message),
        Ok(Leader::Vacant(message)) => Fact::bad(KIND, &name, format!("no operator leads: {message}")),
        Ok(Leader::NoLease) => Fact::bad(
            KIND,
            &name,
            "does not exist: no operator runs there; give its namespace with --operator-namespace and its Lease with --lease-name",
        ),
        Err(error) => Fact::unknown(KIND, &name, cluster.explain(&error)),
    }
}
