use serde_json::json;

use super::*;

fn facts(pairs: &[(&str, &str)], email: Option<&str>) -> Facts {
    Facts {
        attributes: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        email: email.map(str::to_owned),
    }
}

#[test]
fn each_operator() {
    let name = facts(&[("elastigroup:name", "web-prod")], None);
    let of_name = |(operator, wanted, holds): (&str, Value, _)| {
        (json!({operator: {"spot:elastigroup:name": wanted}}), holds)
    };
    let single = [
        ("StringEquals", json!("web-prod"), Some(true)),
        ("StringEquals", json!(["a", "web-prod"]), Some(true)),
        ("StringEquals", json!("web"), Some(false)),
        ("StringNotEquals", json!("web"), Some(true)),
        ("StringNotEquals", json!(["web", "web-prod"]), Some(false)),
        ("StringEqualsIgnoreCase", json!("WEB-Prod"), Some(true)),
        ("StringContains", json!("prod"), Some(true)),
        ("StringPatternMatch", json!("^web-.*$"), Some(true)),
        ("StringPatternMatch", json!("-dev$"), Some(false)),
        ("StringPatternMatch", json!(["^prod", "^web"]), None),
        ("StringPatternMatch", json!(["^web", "web.*"]), Some(true)),
    ];
    let contains = |part: &str| json!({"StringContains": {"spot:elastigroup:name": part}});
    let mut both = contains("web");
    both["StringPatternMatch"] = json!({"spot:elastigroup:name": ".*dev"});
    let several = [
        (both, Some(false)),
        (json!({"And": [contains("web"), contains("prod")]}), Some(true)),
        (
            json!({"StringNotEquals": {"spot:ocean:name": "web"}}),
            Some(false),
        ),
    ];
    for (condition, holds) in single.map(of_name).into_iter().chain(several) {
        let parsed = Condition::parse(&condition).unwrap();
        assert_eq!(parsed.holds("elastigroup", &name), holds, "{condition}");
    }
}

#[test]
fn what_is_missing_equals_nothing_and_is_not_known_to_be_unequal() {
    let name = |operator: &str, wanted: &str| json!({operator: {"spot:elastigroup:name": wanted}});
    let tag = |operator: &str| json!({operator: {"spot:elastigroup:tags/Email": "x"}});
    let (equal, other) = ("StringEquals", "StringNotEquals");
    let web = facts(&[("elastigroup:name", "web")], None);
    for (condition, holds) in [
        (tag(equal), Some(false)),
        (tag("StringContains"), Some(false)),
        (tag(other), None),
        (json!({"And": [name(equal, "web"), tag(other)]}), None),
        (json!({"And": [tag(other), name(equal, "web")]}), None),
        // Whatever the other one is.
        (json!({"And": [tag(other), name(equal, "db")]}), Some(false)),
        (json!({"And": [name(equal, "db"), tag(other)]}), Some(false)),
    ] {
        let parsed = Condition::parse(&condition).unwrap();
        assert_eq!(parsed.holds("elastigroup", &web), holds, "{condition}");
        let unknown = parsed.holds("elastigroup", &Facts::default());
        assert_eq!(unknown, None, "{condition} of an unknown resource");
        let elsewhere = parsed.holds("ocean", &web);
        assert_eq!(elsewhere, Some(false), "{condition} is about other resources");
    }
}

/// The third example of the vendor's page.
#[test]
fn keys_of_ocean_cd_need_no_prefix() {
    let condition = json!({"And": [
        {"StringEquals": {"oceancdWorkloadName": "nginx-deployment"}},
        {"StringEquals": {"oceancdNamespace": "nslab"}},
        {"StringEquals": {"oceancdClusterId": "cluster-labs"}},
        {"StringEquals": {"oceancdWorkloadType": "SpotDeployment"}}]});
    let parsed = Condition::parse(&condition).unwrap();
    // None of its resources can be looked up.
    assert_eq!(parsed.holds("oceancd", &Facts::default()), None);
    let web = facts(&[("elastigroup:name", "web")], None);
    assert_eq!(parsed.holds("elastigroup", &web), Some(false));
}

/// What was stored when every pattern was taken keeps no policy from being read; it gives nothing, and denies.
#[test]
fn a_stored_pattern_that_is_none() {
    let condition = json!({"StringPatternMatch": {"spot:elastigroup:name": "*-dev"}});
    let parsed: Condition = serde_json::from_value(condition).unwrap();
    let web = facts(&[("elastigroup:name", "web")], None);
    assert_eq!(parsed.holds("elastigroup", &web), None);
}

#[test]
fn the_caller_by_e_mail() {
    let tagged = [("elastigroup:tags/Email", "ann@example.com")];
    for (operator, wanted, of_ann, of_bob, of_robot) in [
        ("StringEquals", json!(EMAIL), true, false, Some(false)),
        ("StringNotEquals", json!(EMAIL), false, true, None),
        // The address itself, which is no pattern.
        ("StringPatternMatch", json!(EMAIL), true, false, Some(false)),
        // Any caller.
        (
            "StringEquals",
            json!([EMAIL, "ann@example.com"]),
            true,
            true,
            Some(true),
        ),
        (
            "StringNotEquals",
            json!([EMAIL, "ann@example.com"]),
            false,
            false,
            Some(false),
        ),
    ] {
        let condition = json!({operator: {"spot:elastigroup:tags/Email": wanted}});
        let parsed = Condition::parse(&condition).unwrap();
        let holds = |email| parsed.holds("elastigroup", &facts(&tagged, email));
        assert_eq!(holds(Some("ann@example.com")), Some(of_ann), "{condition}");
        assert_eq!(holds(Some("bob@example.com")), Some(of_bob), "{condition}");
        assert_eq!(
            holds(None),
            of_robot,
            "{condition}: a programmatic user has no address"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (condition, place) in [
        (json!([]), ""),
        (json!({}), ""),
        (json!({"StringLike": {}}), ".StringLike"),
        (json!({"StringEquals": {}}), ".StringEquals"),
        (json!({"StringEquals": {"name": "x"}}), ".StringEquals.name"),
        (
            json!({"StringEquals": {"spot:elastigroup:name": []}}),
            ".StringEquals.spot:elastigroup:name",
        ),
        (
            json!({"StringPatternMatch": {"spot:elastigroup:name": "*-dev"}}),
            ".StringPatternMatch.spot:elastigroup:name",
        ),
        (
            json!({"And": [{"StringPatternMatch": {"spot:x:y": ["ok", "("]}}]}),
            ".And.0.StringPatternMatch.spot:x:y",
        ),
        (
            json!({"StringEquals": {"oceancdColour": "x"}}),
            ".StringEquals.oceancdColour",
        ),
        (
            json!({"And": [{"StringEquals": {"spot:x:y": 1}}]}),
            ".And.0.StringEquals.spot:x:y",
        ),
        (
            json!({"And": [{"And": [{"And": [{"And": [{"And": [{"And": [{"StringEquals": {"spot:x:y": "z"}}]}]}]}]}]}]}),
            ".And.0.And.0.And.0.And.0.And.0.And",
        ),
    ] {
        assert_eq!(Condition::parse(&condition).unwrap_err().0, place, "{condition}");
    }
}
