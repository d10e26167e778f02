//! From the platform's details of a user to a manifest. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kube::ResourceExt as _;
use serde_json::Value;

use crate::api::{
    Access, AccountEntry, DeletionPolicy, GroupEntry, PolicyEntry, ProgrammaticUser, ProgrammaticUserSpec,
    Role, Scope, SecretSpec,
};
use crate::command::outcome::Failure;
use crate::command::output::clean;
use crate::command::platform::TOKEN;
use crate::plan::Marker;
use crate::platform::{UserDetails, UserPolicy};

/// Longest name of an object that is derived here.
const MAX_NAME: usize = 63;
/// Longest display name, in characters.
const MAX_DISPLAY: usize = 64;

/// Where the old user is.
pub(super) struct Place<'a> {
    pub(super) organization: &'a str,
    pub(super) url: &'a str,
}

/// An object whose spec is what the user has.
pub(super) fn draft(
    details: &UserDetails,
    class: &str,
    namespace: &str,
    name: Option<&str>,
) -> Result<ProgrammaticUser, Failure> {
    let shown = match Marker::parse(&details.username) {
        Some(_) => details
            .username
            .rsplit_once("/k8s.")
            .map_or("", |(shown, _)| shown),
        None => details.username.as_str(),
    };
    let display_name: String = shown
        .chars()
        .map(|c| {
            if "+=@/".contains(c) || c.is_control() {
                '-'
            } else {
                c
            }
        })
        .take(MAX_DISPLAY)
        .collect();
    let name = name.map_or_else(|| object_name(&display_name), str::to_owned);
    let (scope, access) = access(details)?;
    let description = details.description.as_deref().filter(|d| !d.is_empty());
    let spec = ProgrammaticUserSpec {
        class_name: class.to_owned(),
        scope,
        display_name: Some(display_name).filter(|d| *d != name && !d.is_empty()),
        description: description.map(|d| d.chars().take(256).collect()),
        access: Some(access),
        secret: SecretSpec::default(),
        rotation: None,
        consumers: None,
        deletion_policy: DeletionPolicy::default(),
        expire_at: None,
        suspend: false,
    };
    let mut object = ProgrammaticUser::new(&name, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    Ok(object)
}

/// What Kubernetes takes as a name.
fn object_name(display_name: &str) -> String {
    let plain = display_name.to_lowercase();
    let mut name = String::new();
    for c in plain.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(MAX_NAME);
    match name.trim_matches('-') {
        "" => "imported".to_owned(),
        name => name.to_owned(),
    }
}

/// The role that a built-in policy is, as the operator gives it.
fn role(policy: &UserPolicy) -> Option<Role> {
    // The ids of built-in policies are bare numbers, so that no policy of a customer passes for one.
    let built_in = policy.policy_id.bytes().all(|b| b.is_ascii_digit());
    match policy.policy_name.as_str() {
        "Account Editor" if built_in => Some(Role::Editor),
        "Account Viewer" if built_in => Some(Role::Viewer),
        _ => None,
    }
}

fn access(details: &UserDetails) -> Result<(Scope, Access), Failure> {
    if details.policies.is_empty() {
        return Err(Failure::Failed(format!(
            "user {} has neither a role nor a policy of its own{}: write the manifest by hand (docs/reference.md)",
            details.user_id,
            if details.groups.is_empty() {
                ""
            } else {
                ", only groups"
            }
        )));
    }
    let groups = details.groups.iter().map(|g| GroupEntry {
        name: None,
        id: Some(g.id.clone()),
    });
    let (scope, mut access) = by_role(&details.policies).unwrap_or_else(|| by_policies(&details.policies));
    access.groups = groups.collect();
    // They act beyond one account.
    let beyond = !access.groups.is_empty()
        || details
            .policies
            .iter()
            .any(|p| p.policy_type.ends_with("ORGANIZATION"));
    Ok((if beyond { Scope::Organization } else { scope }, access))
}

/// Roles by account, if the policies are nothing else.
fn by_role(policies: &[UserPolicy]) -> Option<(Scope, Access)> {
    let mut roles: Vec<(String, Role)> = Vec::new();
    for policy in policies {
        let role = role(policy)?;
        for id in &policy.account_ids {
            if id == "*" || roles.iter().any(|(known, _)| known == id) {
                return None;
            }
            roles.push((id.clone(), role));
        }
    }
    roles.sort_by(|a, b| a.0.cmp(&b.0));
    let all_edit = roles.iter().all(|(_, r)| *r == Role::Editor);
    let usual = if all_edit { Role::Editor } else { Role::Viewer };
    let accounts: Vec<AccountEntry> = roles
        .into_iter()
        .map(|(id, role)| AccountEntry {
            id,
            role: Some(role).filter(|r| *r != usual),
        })
        .collect();
    let scope = match accounts.len() {
        0 => return None,
        1 => Scope::Account,
        _ => Scope::Organization,
    };
    let access = Access {
        role: usual,
        accounts,
        policies: vec![],
        groups: vec![],
    };
    Some((scope, access))
}

fn by_policies(policies: &[UserPolicy]) -> (Scope, Access) {
    let accounts: BTreeSet<&str> = policies
        .iter()
        .flat_map(|p| p.account_ids.iter().map(String::as_str))
        .collect();
    let everywhere = policies.iter().any(|p| p.account_ids.is_empty());
    let single = accounts
        .first()
        .filter(|a| accounts.len() == 1 && **a != "*" && !everywhere);
    let entry = |p: &UserPolicy| PolicyEntry {
        name: None,
        id: Some(p.policy_id.clone()),
        accounts: if single.is_some() {
            vec![]
        } else {
            p.account_ids.clone()
        },
    };
    let access = Access {
        role: Role::PolicyBased,
        accounts: single
            .map(|id| AccountEntry {
                id: (*id).to_owned(),
                role: None,
            })
            .into_iter()
            .collect(),
        policies: policies.iter().map(entry).collect(),
        groups: vec![],
    };
    let scope = if single.is_some() {
        Scope::Account
    } else {
        Scope::Organization
    };
    (scope, access)
}

/// The object without what is default anyway.
pub(super) fn object(draft: &ProgrammaticUser) -> Value {
    let mut value = serde_json::to_value(draft).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(spec) = value["spec"].as_object_mut() {
        for key in ["secret", "deletionPolicy", "suspend"] {
            spec.remove(key);
        }
    }
    value
}

/// The manifest, with what to do around it.
pub(super) fn yaml(
    draft: &ProgrammaticUser,
    details: &UserDetails,
    place: &Place,
    notes: &[String],
) -> Result<String, Failure> {
    let (namespace, name) = (draft.namespace().unwrap_or_default(), draft.name_any());
    let id = &details.user_id;
    let digits: Vec<&str> = details
        .tokens
        .iter()
        .map(|t| t.token_last_digits.as_str())
        .collect();
    let token = if digits.is_empty() {
        "the old token".to_owned()
    } else {
        format!("the old token, which ends in {},", digits.join(" or "))
    };
    let mut lines = vec![
        format!(
            "For user {id} ({:?}) of Organization {}.",
            details.username, place.organization
        ),
        "The platform shows a token once, so that the old user cannot be taken over: applying this makes a NEW user with".to_owned(),
        format!("the same rights, and puts its token into Secret {namespace}/{name}. Users are never matched by name."),
        format!("1. kubectl apply this, and kubectl -n {namespace} wait --for=condition=Ready pu/{name}"),
        format!("2. Switch every program that uses {token} to the one in the Secret."),
        "3. Delete the old user when no program uses it any more (`programmatic-users unmanaged` shows its last use):".to_owned(),
        // By standard input: others on the machine see a process's arguments.
        format!(
            "     printf 'Authorization: Bearer %s' \"${TOKEN}\" | curl -X DELETE -H @- {}/setup/user/{id}",
            place.url
        ),
    ];
    let policy_based = draft
        .spec
        .access
        .as_ref()
        .is_some_and(|a| a.role == Role::PolicyBased);
    for policy in details.policies.iter().filter(|_| policy_based) {
        lines.push(format!(
            "Policy {} is {:?}.",
            policy.policy_id, policy.policy_name
        ));
    }
    for group in &details.groups {
        lines.push(format!("Group {} is {:?}.", group.id, group.name));
    }
    lines.extend(notes.iter().map(|note| format!("NOTE: {note}")));
    // A text of the platform must not end a comment.
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "# {}", clean(&line).replace('\n', " "));
    }
    let body = serde_saphyr::to_string(&object(draft))
        .map_err(|e| Failure::Failed(format!("the manifest has no YAML form: {e}")))?;
    text.push_str(&body);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Place, draft, object, object_name, yaml};
    use crate::platform::UserDetails;

    fn details(policies: &serde_json::Value) -> UserDetails {
        serde_json::from_value(
            json!({"userId": "pu-1", "username": "Team A/ci\n- evil", "type": "programmatic",
            "policies": policies}),
        )
        .unwrap()
    }

    fn spec(policies: &serde_json::Value) -> serde_json::Value {
        let draft = draft(&details(policies), "c", "ns", None).ok().unwrap();
        object(&draft)["spec"].clone()
    }

    #[test]
    fn roles_are_recognised_by_the_built_in_policies() {
        let editor = json!({"policyId": "2", "policyName": "Account Editor", "accountIds": ["act-1"]});
        let viewer = json!({"policyId": "3", "policyName": "Account Viewer", "accountIds": ["act-2"]});
        let one = spec(&json!([editor]));
        assert_eq!(
            (&one["scope"], &one["access"]["role"]),
            (&json!("Account"), &json!("Editor"))
        );
        let both = spec(&json!([editor, viewer]));
        assert_eq!(
            both["access"],
            json!({"role": "Viewer", "accounts": [{"id": "act-1", "role": "Editor"}, {"id": "act-2"}]})
        );
        let own = json!({"policyId": "pol-9", "policyName": "Account Editor", "accountIds": ["act-1"]});
        assert_eq!(spec(&json!([own]))["access"]["role"], "PolicyBased");
    }

    #[test]
    fn policies_keep_their_accounts() {
        let a = json!({"policyId": "pol-a", "policyName": "a", "accountIds": ["act-1"]});
        let all = json!({"policyId": "pol-b", "policyName": "b", "accountIds": ["*"]});
        let one = spec(&json!([a]));
        assert_eq!(
            one["access"],
            json!({"role": "PolicyBased", "accounts": [{"id": "act-1"}], "policies": [{"id": "pol-a"}]})
        );
        let wide = spec(&json!([a, all]));
        assert_eq!(wide["scope"], "Organization");
        assert_eq!(
            wide["access"]["policies"][1],
            json!({"id": "pol-b", "accounts": ["*"]})
        );
        assert!(draft(&details(&json!([])), "c", "ns", None).is_err());
    }

    /// A draft for these policies, and the text of it.
    fn written(policies: &serde_json::Value, problems: &[String]) -> (super::ProgrammaticUser, String) {
        let details = details(policies);
        let draft = draft(&details, "c", "ns", None).ok().unwrap();
        let place = Place {
            organization: "acme",
            url: "https://x",
        };
        let text = yaml(&draft, &details, &place, problems).ok().unwrap();
        (draft, text)
    }

    #[test]
    fn no_name_of_the_platform_breaks_out_of_a_comment() {
        let editor = json!([{"policyId": "2", "policyName": "Account Editor", "accountIds": ["act-1"]}]);
        let (draft, text) = written(&editor, &["a\nb: c".to_owned()]);
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, object(&draft), "{text}");
        assert_eq!(read["spec"]["displayName"], "Team A-ci-- evil");
    }

    #[test]
    fn the_command_that_deletes_the_old_user_takes_the_token_from_standard_input() {
        let editor = json!([{"policyId": "2", "policyName": "Account Editor", "accountIds": ["act-1"]}]);
        let (_, text) = written(&editor, &[]);
        let line = text.lines().find(|l| l.contains("curl")).unwrap();
        // `printf` is a part of the shell and no process.
        let (header, curl) = line.split_once(" | ").unwrap();
        assert!(
            header.ends_with("printf 'Authorization: Bearer %s' \"$SPOTINST_TOKEN\""),
            "{line}"
        );
        assert_eq!(curl, "curl -X DELETE -H @- https://x/setup/user/pu-1");
    }

    #[test]
    fn names_are_made_fit() {
        assert_eq!(object_name("Team A/ci_deploy"), "team-a-ci-deploy");
        assert_eq!(object_name("***"), "imported");
        assert_eq!(object_name(&"x".repeat(99)).len(), 63);
    }
}
