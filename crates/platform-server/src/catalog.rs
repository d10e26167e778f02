//! What every organization has from the start: the built-in policies, and the catalogue of actions.

use serde_json::{Value, json};

pub(super) const ADMIN: &str = "1";
/// What the role `editor` of a create call becomes.
pub(super) const ACCOUNT_EDITOR: &str = "2";
/// What the role `viewer` of a create call becomes.
pub(super) const ACCOUNT_VIEWER: &str = "3";

/// A built-in policy: id, name, description, type, allowed actions.
pub(super) struct BuiltIn {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) policy_type: &'static str,
    pub(super) actions: &'static [&'static str],
}

const ACCOUNT: &str = "SPOT_MANAGED_ACCOUNT";
const ORGANIZATION: &str = "SPOT_MANAGED_ORGANIZATION";

/// The built-in policies. Their ids are bare numbers, as on the real service, where `3` is known to be the viewer.
pub(super) const BUILT_IN: [BuiltIn; 8] = [
    BuiltIn {
        id: ADMIN,
        name: "Admin",
        description: "Everything, in the organization and in its accounts",
        policy_type: ORGANIZATION,
        actions: &["*"],
    },
    BuiltIn {
        id: ACCOUNT_EDITOR,
        name: "Account Editor",
        description: "Reads and changes the resources of an account",
        policy_type: ACCOUNT,
        actions: &["*:describe*", "elastigroup:*", "ocean:*"],
    },
    BuiltIn {
        id: ACCOUNT_VIEWER,
        name: "Account Viewer",
        description: "Reads the resources of an account",
        policy_type: ACCOUNT,
        actions: &["*:describe*"],
    },
    BuiltIn {
        id: "4",
        name: "Elastigroup Full Access",
        description: "All actions on elastigroups",
        policy_type: ACCOUNT,
        actions: &["elastigroup:*"],
    },
    BuiltIn {
        id: "5",
        name: "Ocean Full Access",
        description: "All actions on ocean clusters",
        policy_type: ACCOUNT,
        actions: &["ocean:*"],
    },
    BuiltIn {
        id: "6",
        name: "Credit Card Editor",
        description: "All actions on means of payment",
        policy_type: ORGANIZATION,
        actions: &["billing:*"],
    },
    BuiltIn {
        id: "7",
        name: "Cloud Analyzer Editor",
        description: "All actions of the cloud analyzer",
        policy_type: ORGANIZATION,
        actions: &["cloudAnalyzer:*"],
    },
    BuiltIn {
        id: "8",
        name: "Organization Viewer",
        description: "Reads users, groups, policies and the audit log of the organization",
        policy_type: ORGANIZATION,
        actions: &["setup:describe*"],
    },
];

impl BuiltIn {
    pub(super) fn content(&self) -> Value {
        json!({"statements": [{"effect": "ALLOW", "actions": self.actions, "resources": ["*"]}]})
    }
}

/// The kind of an action, from the verb that its name begins with. What is none of these the vendor calls an update.
fn category(name: &str) -> &'static str {
    let verbs = [
        ("create", "CREATE"),
        ("delete", "DELETE"),
        ("describe", "READ"),
        ("explain", "READ"),
    ];
    let of_name = verbs.into_iter().find(|(verb, _)| name.starts_with(*verb));
    of_name.map_or("UPDATE", |(_, category)| category)
}

/// The catalogue of actions, from the table that the routes are guarded by.
pub(super) fn actions() -> Vec<Value> {
    let mut seen = std::collections::BTreeMap::new();
    for rule in super::rules::RULES {
        let Some((service, name)) = rule.action.split_once(':') else {
            continue;
        };
        let scope = if rule.in_organization() {
            "ORGANIZATION"
        } else {
            "ACCOUNT"
        };
        seen.insert(
            rule.action,
            json!({
                "name": rule.action, "service": service, "resourcePattern": format!("{service}:*"),
                "scope": scope, "category": category(name),
            }),
        );
    }
    seen.into_values().collect()
}
