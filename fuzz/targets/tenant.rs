//! What tenants write into objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use programmatic_users::api::{
    Duration, Endpoint, Organization, ProgrammaticUser, ProgrammaticUserClass, SecretTemplate, SecretValue,
};
use programmatic_users::plan;
use serde_json::{Value, json};

use super::text;

fn api_object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> Option<T> {
    let metadata = json!({"name": name, "namespace": "team", "uid": "4f2c1c2e-9a54-4b3a-8a43-0d6d2a0b7f11"});
    let object = json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(object).ok()
}

/// A class that allows what can be allowed, and its organization.
fn surroundings() -> (ProgrammaticUserClass, Organization) {
    let class = json!({
        "organizationName": "acme", "scopes": ["Account", "Organization"],
        "allow": {"roles": ["Viewer", "Editor", "PolicyBased"], "accounts": ["*"], "policies": ["*"], "groups": ["*"]},
        "namespaces": {"matchNames": ["team"]},
    });
    let organization = json!({
        "endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "admin", "key": "token"},
    });
    let class = api_object("ProgrammaticUserClass", "editors", &class).expect("a class");
    let organization = api_object("Organization", "acme", &organization).expect("an organization");
    (class, organization)
}

/// A span of time that is read can be written, and is then read as the same.
pub fn duration(data: &[u8]) {
    let text = text(data);
    let Some(span) = Duration::parse(&text) else {
        return;
    };
    // The pattern of the schema.
    assert!(
        text.bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b)),
        "{text:?}"
    );
    assert!(text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(['h', 'm', 's']));
    assert_eq!(Duration::parse(&span.to_string()), Some(span), "{text:?}");
    let json = serde_json::to_string(&span).expect("it has a JSON form");
    assert_eq!(
        serde_json::from_str::<Duration>(&json).ok(),
        Some(span),
        "{text:?}"
    );
}

/// Lines: cron fields, time zone, duration, now. A window that is taken opens, not before now, and at a time that the
/// fields name.
pub fn window(data: &[u8]) {
    let text = text(data);
    let mut lines = text.lines().chain(std::iter::repeat(""));
    let [cron, zone, length, now] = [(); 4].map(|()| lines.next().unwrap_or_default());
    let now = now.trim().parse().unwrap_or_else(|_| {
        let second = now.trim().parse().unwrap_or(1_790_000_000);
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    });
    let spec = json!({
        "className": "editors", "scope": "Account",
        "access": {"role": "Viewer", "accounts": [{"id": "act-11aa22bb"}]},
        "rotation": {"every": "1h", "overlap": "1m", "windows": [{"cron": cron, "timeZone": zone, "duration": length}]},
    });
    let Some(user) = api_object::<ProgrammaticUser>("ProgrammaticUser", "ci", &spec) else {
        return;
    };
    let (class, organization) = surroundings();
    let Ok(desired) = plan::validate(&user, &class, &organization) else {
        return;
    };
    let Ok(issued) = now.checked_sub(SignedDuration::from_hours(1)) else {
        return;
    };
    let Some(at) = desired.schedule.at(issued, 0.0, now) else {
        return;
    };
    assert!(at >= now, "{cron:?} in {zone}: {at} is before {now}");
    if at == now {
        return;
    }
    let local = at.to_zoned(TimeZone::get(zone).expect("a window that opens has a time zone"));
    // Clocks that skip the time of a window go on at another one.
    let before = at
        .checked_sub(SignedDuration::from_nanos(1))
        .expect("it is after now");
    let skips = local.time_zone().to_offset(before) != local.offset();
    assert!(
        skips || is_named(cron, &local) != Some(false),
        "{cron:?} does not name {local}"
    );
}

/// Whether cron fields name a time; `None` where they use more than numbers, `*`, lists, ranges and steps.
fn is_named(cron: &str, at: &Zoned) -> Option<bool> {
    let fields: Vec<&str> = cron.split_ascii_whitespace().collect();
    let weekday = at.weekday().to_sunday_zero_offset();
    let has = |index: usize, last: i8, value: i8| field_has(fields.get(index)?, last, value);
    let sunday = if weekday == 0 { has(4, 7, 7)? } else { false };
    let (day, week) = (has(2, 31, at.day())?, has(4, 7, weekday)? || sunday);
    let both = fields[2].starts_with('*') || fields[4].starts_with('*');
    let day = if both { day && week } else { day || week };
    let time = has(0, 59, at.minute())? && has(1, 23, at.hour())? && at.second() == 0;
    Some(time && has(3, 12, at.month())? && day)
}

fn field_has(field: &str, last: i8, value: i8) -> Option<bool> {
    let mut found = false;
    for item in field.split(',') {
        let (span, step) = item
            .split_once('/')
            .map_or((item, None), |(span, step)| (span, Some(step)));
        let step: i8 = step.map_or(Some(1), |step| step.parse().ok())?;
        let (from, to) = match span.split_once('-') {
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
            None if span == "*" => (i8::from(last == 31 || last == 12), last),
            None => {
                let from = span.parse().ok()?;
                (from, if item == span { from } else { last })
            }
        };
        found |= (from..=to).contains(&value) && (value - from).checked_rem(step)? == 0;
    }
    Some(found)
}

/// A template gives text of a bounded size, with its values and nothing else in place of the braces.
pub fn template(data: &[u8]) {
    let source = text(data).into_owned();
    let template = SecretTemplate {
        data: BTreeMap::from([("file".to_owned(), source.clone())]),
        ..SecretTemplate::default()
    };
    let values = BTreeMap::from([
        (SecretValue::Account, "act-11aa22bb".to_owned()),
        (SecretValue::Endpoint, "https://api.example.com".to_owned()),
    ]);
    let token = "5ec4e7".repeat(10);
    match plan::render(&template, &values, &token) {
        Ok(files) => {
            let file = &files["file"];
            assert!(file.len() <= 256 * 1024, "{} bytes", file.len());
            // No value is longer than the token, and each is named in more than five characters.
            assert!(
                file.len() <= source.len() * 12,
                "{} of {} bytes",
                file.len(),
                source.len()
            );
            if !["{{", "{#", "{%"].iter().any(|begin| source.contains(begin)) {
                assert_eq!(*file, source);
            }
        }
        Err(message) => assert!(!message.contains(&token), "a message tells the token"),
    }
}

/// The JSON of a spec. One that is read can be written; what it asks for has one key for the token, and an account that
/// the user acts in.
pub fn object(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let Some(user) = api_object::<ProgrammaticUser>("ProgrammaticUser", "ci", &spec) else {
        return;
    };
    let written = serde_json::to_value(&user).expect("an object has a JSON form");
    let read: ProgrammaticUser = serde_json::from_value(written).expect("what is written is read");
    assert_eq!(read.spec, user.spec);
    let (class, organization) = surroundings();
    let Ok(desired) = plan::validate(&user, &class, &organization) else {
        return;
    };
    assert!(desired.layout.values().any(|value| *value == SecretValue::Token));
    let carried: BTreeSet<_> = desired.layout.values().collect();
    let values = desired.values();
    let missing = carried
        .iter()
        .filter(|v| ***v != SecretValue::Token && !values.contains_key(v));
    assert_eq!(missing.count(), 0, "a key has no value");
    if let Some(account) = &desired.account {
        let roles = desired.access.accounts.iter().map(|a| &a.id);
        let mut named = roles.chain(desired.access.policies.iter().flat_map(|p| &p.accounts));
        assert!(named.any(|id| id == account || id == "*"), "{account}");
    }
    assert_eq!(
        plan::validate(&user, &class, &organization).as_ref(),
        Ok(&desired)
    );
    let now = Timestamp::UNIX_EPOCH;
    assert!(desired.schedule.at(now, 0.5, now).is_none_or(|at| at >= now));
}

/// A URL in clear text that is taken leads, by the URL type of the client, to a host that is near.
pub fn endpoint(data: &[u8]) {
    let url = text(data).into_owned();
    // The pattern of the schema.
    let plain = |c: char| c.is_ascii_alphanumeric() || ".[]:-/".contains(c);
    if !url.chars().all(plain) {
        return;
    }
    let given = json!({"url": url, "insecure": true});
    let Ok(endpoint) = serde_json::from_value::<Endpoint>(given) else {
        return;
    };
    if plan::check_endpoint(&endpoint).is_err() {
        return;
    }
    let Ok(parsed) = url.parse::<url::Url>() else {
        return;
    };
    assert!(
        parsed.username().is_empty() && parsed.password().is_none() && parsed.path() == "/",
        "{url}"
    );
    if parsed.scheme() == "https" {
        return;
    }
    assert_eq!(parsed.scheme(), "http", "{url}");
    let host = parsed.host_str().expect("it has a host");
    // A dot at its end makes a name absolute, and leaves it below the same domain.
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    // An IPv4 address in the form of IPv6.
    let near = match address.map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost" || is_below(host, ".svc") || is_below(host, ".svc.cluster.local"),
    };
    assert!(near, "{url} leads to {host}");
}

fn is_below(host: &str, domain: &str) -> bool {
    host.ends_with(domain)
}
