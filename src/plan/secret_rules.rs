//! The shape of a Secret against what its class allows.
//!
//! Programs act on Secrets by their names, labels, annotations and keys: Helm takes one for a release, a replicator copies it
//! into other namespaces, a loader runs what an environment variable names. So the class says what an object may
//! choose, beyond a few names that nothing is known to act on.

use std::collections::BTreeMap;

use super::Refusal;
use crate::api::{ProgrammaticUser, ProgrammaticUserClass, Reason, SecretTemplate, SecretValue};

/// Names of the Secrets that Helm takes for its releases, whatever their type.
const HELM_RELEASE: &str = "sh.helm.release.v1.";
/// Longest name of a DNS label.
const DNS_LABEL: usize = 63;
/// Keys of the four values that no loader reads.
const KEYS: [&str; 6] = [
    "SPOTINST_*",
    "SPOT_*",
    "token",
    "account",
    "endpoint",
    "organization",
];
/// Keys of labels and annotations that describe a thing and select nothing.
const DESCRIPTIONS: [&str; 4] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
];
/// Domains of Kubernetes, of GitOps tools and of this operator, as in the rule of the CRD: an object from before the rule,
/// or one in a cluster with older definitions, never met it.
const RESERVED: [&str; 6] = [
    "kubernetes.io",
    "k8s.io",
    "argoproj.io",
    "fluxcd.io",
    "helm.sh",
    "programmatic-users.io",
];

/// Checks name, labels, annotations, keys and files of the Secret.
pub(super) fn check(
    user: &ProgrammaticUser,
    class: &ProgrammaticUserClass,
    (name, layout, template): (&str, &BTreeMap<String, SecretValue>, &SecretTemplate),
) -> Result<(), Refusal> {
    let allow = &class.spec.allow.secret;
    if name.starts_with(HELM_RELEASE) {
        let message = format!(
            "Helm would take a Secret named {name:?} for one of its releases: set another secret.name"
        );
        return Err(Refusal::new(Reason::SecretNotAllowed, message));
    }
    let own = user.metadata.name.as_deref() == Some(name) && name.len() <= DNS_LABEL && !name.contains('.');
    if !own && !named(&allow.names, name) {
        return Err(refusal(user, "a Secret named", name, "names"));
    }
    let (labels, annotations) = (&template.labels, &template.annotations);
    check_metadata(user, "label", "labels", (labels, &allow.labels))?;
    check_metadata(
        user,
        "annotation",
        "annotations",
        (annotations, &allow.annotations),
    )?;
    let defaults = class
        .spec
        .defaults
        .as_ref()
        .and_then(|d| d.secret.as_ref()?.keys.as_ref());
    let of_class: Vec<&String> = defaults
        .iter()
        .flat_map(|keys| [&keys.token, &keys.account, &keys.endpoint, &keys.organization])
        .flatten()
        .collect();
    let usual = |key: &String| of_class.contains(&key) || KEYS.iter().any(|p| is_match(p, key));
    if let Some(key) = layout.keys().find(|k| !usual(k) && !named(&allow.keys, k)) {
        return Err(refusal(user, "the Secret's key", key, "keys"));
    }
    match template.data.keys().find(|k| !named(&allow.template, k)) {
        Some(key) => Err(refusal(user, "the Secret's file", key, "template")),
        None => Ok(()),
    }
}

fn check_metadata(
    user: &ProgrammaticUser,
    what: &str,
    list: &str,
    (asked, allowed): (&BTreeMap<String, String>, &[String]),
) -> Result<(), Refusal> {
    for key in asked.keys().filter(|key| !DESCRIPTIONS.contains(&key.as_str())) {
        if is_reserved(key) {
            let message = format!(
                "{what} {key:?} of the Secret has a meaning for Kubernetes, a GitOps tool or this operator: take it out of secret.template.{list}"
            );
            return Err(Refusal::new(Reason::SecretNotAllowed, message));
        }
        if !named(allowed, key) {
            return Err(refusal(user, &format!("the Secret's {what}"), key, list));
        }
    }
    Ok(())
}

fn refusal(user: &ProgrammaticUser, what: &str, name: &str, list: &str) -> Refusal {
    let class = &user.spec.class_name;
    let message = format!(
        "class {class} does not allow {what} {name:?}: ask its owner to add it to allow.secret.{list}, or choose another"
    );
    Refusal::new(Reason::SecretNotAllowed, message)
}

/// Whether one of these patterns stands for this text.
fn named(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| is_match(pattern, text))
}

/// Whether a key's domain is a reserved one, or one below it.
fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map(|(domain, _)| domain);
    domain.is_some_and(|domain| {
        RESERVED.iter().any(|reserved| {
            let above = domain.strip_suffix(reserved);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    })
}

/// Whether a pattern, in which `*` stands for any text, stands for this one. Each part is looked for once, from where
/// the last one ended.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    let Some(mut rest) = text.strip_prefix(first).and_then(|t| t.strip_suffix(last)) else {
        return false;
    };
    for part in middle.split('*') {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_everything_else_for_itself() {
        for (pattern, text, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", "a.b/c", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("**", "x", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "ab", false),
            ("a.c", "abc", false),
            ("[a-z]", "b", false),
            ("?", "b", false),
        ] {
            assert_eq!(is_match(pattern, text), wanted, "{pattern} {text}");
        }
        // A matcher that tries again from each star would not come back from this one.
        let pattern = "a*".repeat(100) + "b";
        assert!(!is_match(&pattern, &"a".repeat(100_000)));
    }

    #[test]
    fn a_reserved_domain_includes_those_below_it() {
        for (key, wanted) in [
            ("kubernetes.io/x", true),
            ("a.b.helm.sh/x", true),
            ("mykubernetes.io/x", false),
            ("helm.sh", false),
            ("example.com/helm.sh", false),
            ("example.com/x", false),
        ] {
            assert_eq!(is_reserved(key), wanted, "{key}");
        }
    }
}
