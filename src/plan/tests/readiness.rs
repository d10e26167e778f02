//! What `Ready` says while a user is being replaced, or cannot be.

use super::rotation::{NEXT, annotate, created, in_use, later, object, status};
use super::*;
use crate::api::{REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};

/// The platform is not there for new users.
fn unreachable(step: &Step, o: &mut Observed) -> bool {
    let create = matches!(step, Step::Create(_));
    if create {
        o.answers.created = Some(Created::No(problem(Reason::PlatformUnreachable)));
    }
    create
}

fn truth(rest: &Verdict, type_: &str) -> Option<String> {
    condition(rest, type_).map(|c| c.0)
}

#[test]
fn a_replacement_that_has_to_wait_takes_nothing_from_those_who_use_the_token() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, unreachable);
    assert_eq!(truth(&rest, READY).as_deref(), Some("True"));
    assert_eq!(
        reason(&rest),
        "PlatformUnreachable",
        "and the column says what is wrong"
    );
    assert_eq!(truth(&rest, RECONCILING), None, "nobody has to wait for it");
    let event = rest.event.clone().unwrap();
    assert_eq!(
        (event.warning, event.reason.as_str()),
        (true, "PlatformUnreachable")
    );
    // Tried again in vain: no news. Then it goes well, and that is.
    later(&mut o, rest);
    let (_, rest) = run(&mut o, unreachable);
    assert_eq!(rest.event, None);
    later(&mut o, rest);
    let (_, rest) = run(&mut o, created);
    assert_eq!(reason(&rest), "Ready");
    assert!(!rest.event.unwrap().warning);
}

/// Whatever is noted of a user is in the status that first says Ready: the next reconcile finds nothing to write.
#[test]
fn a_user_that_is_ready_is_written_once() {
    let rotation = json!({"every": "720h", "overlap": "25h", "windows":
        [{"cron": "0 2 * * SUN", "timeZone": "Europe/Berlin", "duration": "4h"}]});
    let groups = json!({"role": "Editor", "accounts": [{"id": "act-1"}], "groups": [{"name": "deployers"}]});
    let specs = [
        json!({}),
        json!({"rotation": rotation}),
        json!({"access": groups}),
        json!({"expireAt": "2099-01-01T00:00:00Z"}),
        json!({"deletionPolicy": "Retain", "secret": {"name": "other"}}),
    ];
    let classes = [json!({}), json!({"maxAge": "2160h", "minOverlap": "1h"})];
    for (spec, rotation) in specs
        .iter()
        .flat_map(|spec| classes.iter().map(move |c| (spec, c)))
    {
        let mut whole = serde_json::to_value(&editor().spec).unwrap();
        if rotation.get("maxAge").is_some() {
            whole["rotation"] = json!({"every": "720h"});
        }
        whole
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        let mut o = observed(user(&whole));
        Arc::make_mut(o.class.as_mut().unwrap()).spec.rotation =
            serde_json::from_value(rotation.clone()).unwrap();
        let (steps, rest) = run(&mut o, created);
        assert_eq!(reason(&rest), "Ready", "{spec} {rotation}: {steps:?}");
        let written = rest.status;
        object(&mut o).status = written.clone().map(|s| *s);
        let name = written.as_ref().and_then(|s| s.secret_name.clone()).unwrap();
        let SecretView::Ours(mut secret) = own_secret(NONCE) else {
            panic!()
        };
        secret.name = name;
        o.current_secret = SecretView::Ours(secret);
        o.next_secret = o.current_secret.clone();
        o.staged.clear();
        o.answers = Answers::default();
        let (steps, rest) = run(&mut o, created);
        assert_eq!(
            (rest.status, rest.event),
            (written, None),
            "{spec} {rotation}: {steps:?}"
        );
    }
}

#[test]
fn what_is_asked_for_and_not_there_yet_is_not_ready() {
    let mut o = in_use();
    object(&mut o).spec.description = Some("new".to_owned());
    let (_, rest) = run(&mut o, unreachable);
    assert_eq!(truth(&rest, READY).as_deref(), Some("False"));

    // The user was deleted on the platform: not ready, and not forgotten when the next look is not a full one.
    let mut o = in_use();
    o.full_check = true;
    let (steps, rest) = run(&mut o, unreachable);
    assert_eq!(
        steps,
        ["look-up", "read", "reserve", "dry-run", "intent", "create"]
    );
    assert_eq!(truth(&rest, READY).as_deref(), Some("False"));
    later(&mut o, rest);
    o.full_check = false;
    let (steps, rest) = run(&mut o, unreachable);
    assert!(steps.contains(&"create"), "{steps:?}");
    assert_eq!(truth(&rest, READY).as_deref(), Some("False"));
}

#[test]
fn who_wants_the_token_dead_does_not_wait_for_an_attempt_that_is_stuck() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, |step, o| {
        let verify = matches!(step, Step::Verify(_));
        if verify {
            answer_verify(step, o, false);
        }
        verify || created(step, o)
    });
    assert_eq!(reason(&rest), "TokenNotAccepted");
    later(&mut o, rest);
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    o.fresh_nonce = "eeeeccccbbbbaaaa".to_owned();
    o.expired_attempts = BTreeSet::from([NEXT.to_owned()]);
    let (steps, rest) = run(&mut o, created);
    assert_eq!(steps[..4], ["unstage", "fence", "journal", "list"]);
    assert!(steps.contains(&"publish"), "{steps:?}");
    let status = rest.status.unwrap();
    assert_eq!(status.last_handled_revoke_now.as_deref(), Some("1"));
    assert_eq!(status.journal.retiring[0].not_before, now());
}

#[test]
fn a_token_that_is_taken_up_again_keeps_its_age() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let issued = "2026-01-05T10:00:00Z";
    let mut accepted = false;
    let mut answer = |step: &Step, o: &mut Observed| match step {
        Step::Verify(_) => {
            answer_verify(step, o, accepted);
            accepted = true;
            true
        }
        Step::ReadUser(_) => {
            let mut user: serde_json::Value = own(o, "pu-2", NEXT);
            user["tokens"] =
                json!([{"tokenId": 1, "name": "t", "tokenLastDigits": "cd34", "createdAt": issued}]);
            let details = Some(serde_json::from_value(user).unwrap());
            answer_read(step, o, details);
            true
        }
        _ => created(step, o),
    };
    let (_, rest) = run(&mut o, &mut answer);
    assert_eq!(reason(&rest), "TokenNotAccepted");
    later(&mut o, rest);
    let (steps, rest) = run(&mut o, &mut answer);
    assert_eq!(steps, ["look-up", "read", "verify", "publish", "unstage"]);
    let status = rest.status.unwrap();
    assert_eq!(status.token_last_digits.as_deref(), Some("cd34"));
    assert_eq!(status.token_issued_at, issued.parse().ok());
}

#[test]
fn the_end_of_life_is_not_decided_by_our_own_clock() {
    let mut o = in_use();
    object(&mut o).spec.expire_at = Some(now());
    o.platform_now = None;
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps, reason(&rest).as_str()), (Vec::new(), "Ready"));
    assert!(matches!(rest.requeue, Requeue::After(span) if span.as_secs() <= 5));
}

#[test]
fn where_the_secret_carries_the_url_a_new_one_replaces_it() {
    let mut o = in_use();
    let moved = |o: &mut Observed| {
        let organization = Arc::make_mut(o.organization.as_mut().unwrap());
        organization.spec.endpoint.url = "https://new.example.com".to_owned();
    };
    moved(&mut o);
    assert_eq!(
        run(&mut o, created).0,
        Vec::<&str>::new(),
        "a Secret without it stays"
    );

    let keys = json!({"keys": {"endpoint": "URL"}});
    let template = json!({"template": {"data": {"config": "url = {{ endpoint }}"}}});
    for secret in [keys, template] {
        let mut first = observed(editor());
        object(&mut first).spec.secret = serde_json::from_value(secret).unwrap();
        let (_, rest) = run(&mut first, |_, _| false);
        later(&mut first, rest);
        first.fresh_nonce = NEXT.to_owned();
        assert_eq!(run(&mut first, created).0, Vec::<&str>::new());
        moved(&mut first);
        run(&mut first, created);
        assert_eq!(
            status(&first).journal.pending.as_ref().unwrap().reason,
            "SpecChanged"
        );
    }
}
