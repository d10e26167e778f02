//! Replies that the platform, or something before it, may give.

use std::time::Duration;

use super::Token;
use super::error::{Error, Kind, Sent};
use super::wire::{FEW, Route, items, listed, time};
use crate::PolicyName;

fn refused(status: u16, body: &str) -> Error {
    Error::refused("GET /x", status, None, body.as_bytes(), &[])
}

#[test]
fn not_found_comes_in_several_shapes() {
    let body = r#"{"response":{"status":{"code":404,"message":"Not Found"}}}"#;
    assert!(refused(404, body).is_not_found());
    for foreign in ["", "<html>default backend - 404</html>", "{}"] {
        assert!(
            !refused(404, foreign).is_not_found(),
            "{foreign:?} is not the platform's"
        );
        assert_eq!(refused(404, foreign).sent(), Sent::Unknown);
    }
    let body = r#"{"response":{"status":{"code":400,"message":"Bad Request"},"errors":[{"code":"USER_DOESNT_EXIST","message":"gone"}]}}"#;
    assert!(refused(400, body).is_not_found());
    let body = r#"{"response":{"status":{"code":400,"message":"Bad Request"},"errors":[{"code":"ERR","message":"User does not exist"}]}}"#;
    assert!(refused(400, body).is_not_found());
    assert!(!refused(400, "{}").is_not_found());
}

#[test]
fn a_rate_limit_has_no_errors_but_data() {
    let body = r#"{"request":{"id":"r-1"},"response":{"status":{"code":429,"message":"Too Many Requests"},"data":"Rate limit exceeded"}}"#;
    let error = Error::refused("GET /x", 429, Some(Duration::from_secs(7)), body.as_bytes(), &[]);
    assert_eq!(error.kind, Kind::RateLimited(Some(Duration::from_secs(7))));
    assert_eq!(
        error.to_string(),
        "GET /x: Rate limit exceeded [429 HTTP429, request r-1]"
    );
}

#[test]
fn only_a_clear_refusal_counts_as_not_applied() {
    for (status, sent) in [
        (400, Sent::NotApplied),
        (401, Sent::NotApplied),
        (403, Sent::NotApplied),
        (422, Sent::NotApplied),
        (302, Sent::Unknown),
        (408, Sent::Unknown),
        (500, Sent::Unknown),
        (502, Sent::Unknown),
        (504, Sent::Unknown),
    ] {
        let body = format!(r#"{{"response":{{"status":{{"code":{status},"message":"x"}}}}}}"#);
        let error = refused(status, &body);
        assert_eq!(
            (error.sent(), error.tells_of_endpoint()),
            (sent, false),
            "{status}"
        );
        // A proxy, or another server than a platform: it knows no tokens.
        let error = refused(status, "<html>");
        let actual = (error.kind, error.sent(), error.tells_of_endpoint());
        assert_eq!(actual, (Kind::Broken, Sent::Unknown, true), "{status}");
    }
    assert_eq!(refused(429, "<html>").sent(), Sent::NotApplied);
}

#[test]
fn a_platform_that_quotes_the_token_does_not_get_it_into_an_error() {
    let token = Token::new("0123456789abcdef0123456789abcdef").unwrap();
    let body = format!(
        r#"{{"response":{{"status":{{"code":401,"message":"x"}},"errors":[{{"code":"AUTH","message":"bad token {}"}}]}}}}"#,
        token.expose()
    );
    let error = Error::refused("GET /x", 401, None, body.as_bytes(), &[&token]);
    assert!(!format!("{error} {error:?}").contains(token.expose()));
    assert!(error.to_string().contains("bad token [token]"), "{error}");
}

#[test]
fn long_and_hostile_texts_become_one_short_line() {
    let body = format!(
        r#"{{"response":{{"status":{{"code":400,"message":"x"}},"errors":[{{"code":"A\nB","message":"{}"}}]}}}}"#,
        "x".repeat(5000)
    );
    let error = refused(400, &body);
    assert!(
        error.to_string().len() < 400 && !error.to_string().contains('\n'),
        "{error}"
    );
}

#[test]
fn ids_cannot_name_another_route() {
    for id in ["", "../account", "pu-1/x", "pu-1?x", "pu-%2e", "pu 1"] {
        assert!(Route::user(super::Method::GET, id, "").is_err(), "{id}");
    }
    assert!(Route::user(super::Method::GET, "pu-9f8e7d6c", "").is_ok());
}

#[test]
fn a_token_at_the_edge_of_a_long_text_leaves_no_part_of_itself() {
    let token = Token::new("0123456789abcdef0123456789abcdef").unwrap();
    let message = format!("{}{}", "x".repeat(290), token.expose());
    let body = serde_json::json!({
        "request": {"id": token.expose()},
        "response": {"status": {"code": 400, "message": "x"}, "errors": [{"code": "A", "message": message}]},
    });
    let error = Error::refused("GET /x", 400, None, body.to_string().as_bytes(), &[&token]);
    assert!(!error.to_string().contains("01234567"), "{error}");
}

#[test]
fn a_reply_without_a_list_is_no_empty_list() {
    let route = Route::new(super::Method::GET, "/x");
    let body = br#"{"response":{"status":{"code":200,"message":"OK"}}}"#;
    assert!(listed::<crate::UserSummary, 10>(&route, body).is_err());
    assert_eq!(items::<crate::UserSummary>(&route, body).map(|l| l.len()), Ok(0));
}

#[test]
fn of_policies_names_are_kept_and_a_reply_of_many_tiny_objects_is_refused() {
    let route = Route::new(super::Method::GET, "/setup/organization/policy");
    let reply = |items: &str| {
        format!(r#"{{"response":{{"status":{{"code":200,"message":"OK"}},"items":[{items}]}}}}"#)
    };
    let zeros = "0,".repeat(1_000_000);
    let long = reply(&format!(
        r#"{{"id":"pol-1","name":"ops","policyContent":[{zeros}0]}}"#
    ));
    let kept: Vec<PolicyName> = listed::<_, FEW>(&route, long.as_bytes()).unwrap();
    assert_eq!((&*kept[0].id, &*kept[0].name, kept.len()), ("pol-1", "ops", 1));
    let many = vec![r#"{"id":""}"#; FEW + 1].join(",");
    let error = listed::<PolicyName, FEW>(&route, reply(&many).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert_eq!(
        listed::<PolicyName, FEW>(&route, reply(&many[10..]).as_bytes())
            .unwrap()
            .len(),
        FEW
    );
    // So are those within one object.
    let tokens = vec!["{}"; 5001].join(",");
    let user = reply(&format!(
        r#"{{"userId":"pu-1","type":"programmatic","tokens":[{tokens}]}}"#
    ));
    assert!(items::<crate::UserDetails>(&route, user.as_bytes()).is_err());
}

#[test]
fn the_platforms_time_is_read_from_its_answers() {
    let mut headers = reqwest::header::HeaderMap::new();
    assert_eq!(time(&headers), None);
    headers.insert("date", "Mon, 05 Jan 2026 10:11:12 GMT".parse().unwrap());
    assert_eq!(
        time(&headers).map(|t| t.to_string()).as_deref(),
        Some("2026-01-05T10:11:12Z")
    );
    headers.insert("date", "today".parse().unwrap());
    assert_eq!(time(&headers), None);
}
