//! From nothing to Ready, and changes in place.

use super::*;

#[test]
fn a_creation_takes_its_steps_in_order_and_is_ready_with_one_more_write() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, CREATION);
    let status = rest.status.as_ref().unwrap();
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
    assert_eq!(condition(&rest, RECONCILING), None);
    assert_eq!(condition(&rest, STALLED), None);
    let current = status.journal.current.as_ref().unwrap();
    assert_eq!(
        (current.nonce.as_str(), current.user_id.as_str()),
        (NONCE, "pu-1")
    );
    assert_eq!(status.journal.pending, None);
    assert_eq!(status.token_last_digits.as_deref(), Some("ab12"));
    assert_eq!(rest.event, None, "a smooth creation is no news");
}

#[test]
fn the_name_on_the_platform_carries_the_journaled_nonce() {
    let mut o = observed(editor());
    let mut body = None;
    run(&mut o, |step, o| {
        if let Step::Create(create) = step {
            let pending = o.user.status.as_ref().unwrap().journal.pending.clone().unwrap();
            body = Some((create.clone(), pending.nonce));
        }
        false
    });
    let (body, nonce) = body.unwrap();
    assert_eq!(
        Marker::parse(&body.name),
        Some(Marker::new("abcdef", "uid-1", &nonce))
    );
    assert!(body.name.starts_with("ci/k8s.abcdef."));
    assert_eq!(
        serde_json::to_value(&body.accounts).unwrap(),
        json!([{"id": "act-1", "role": "editor"}])
    );
}

#[test]
fn nothing_changes_once_it_is_ready() {
    let mut o = made();
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert_eq!(rest.status.as_deref(), o.user.status.as_ref());
    assert_eq!((rest.requeue, rest.event), (Requeue::OnChange, None));
}

#[test]
fn groups_are_changed_in_place() {
    let mut o = made();
    let user = Arc::make_mut(&mut o.user);
    user.metadata.generation = Some(2);
    user.spec.access.as_mut().unwrap().groups =
        serde_json::from_value(json!([{"name": "deployers"}])).unwrap();
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            let details = Some(own(o, "pu-1", NONCE));
            answer_read(step, o, details);
        }
        read
    });
    assert_eq!(steps, ["look-up", "read", "journal", "groups", "verify"]);
    assert_eq!(rest.status.unwrap().observed_generation, Some(2));
}
