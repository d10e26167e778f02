//! What a tenant writes into the annotations of its own Secret: which attempt and which user it carries.

use super::granted::class_of as class;
use super::rotation::{NEXT, annotate, created, in_use, object, status};
use super::*;
use crate::api::{OnRevoked, ROTATE_AT_ANNOTATION, Role};

/// The Secret says that it carries this attempt of this user.
fn claim(o: &mut Observed, nonce: &str, user_id: &str) {
    let SecretView::Ours(mut secret) = own_secret(nonce) else {
        panic!();
    };
    secret.user_id = Some(user_id.to_owned());
    o.current_secret = SecretView::Ours(secret);
    o.next_secret = o.current_secret.clone();
}

/// A Viewer that replaced an Editor, whose overlap goes on.
fn replaced() -> Observed {
    let mut o = in_use();
    object(&mut o).spec.access.as_mut().unwrap().role = Role::Viewer;
    let (_, rest) = run(&mut o, created);
    object(&mut o).status = rest.status.map(|s| *s);
    (o.answers, o.staged) = (Answers::default(), Vec::new());
    claim(&mut o, NEXT, "pu-2");
    class(&mut o).spec.on_revoked = OnRevoked::Revoke;
    o
}

#[test]
fn a_replaced_user_does_not_outlive_its_class_because_the_secret_says_that_it_carries_its_token() {
    let mut o = replaced();
    let old = status(&o).journal.retiring[0].clone();
    assert_eq!(old.nonce, NONCE);
    claim(&mut o, NONCE, "pu-1");
    // The tenant keeps the Secret from being repaired.
    object(&mut o).spec.secret.name = Some("other".to_owned());
    o.next_secret = SecretView::Foreign("belongs to Certificate web".to_owned());
    class(&mut o).spec.allow.roles = vec![Role::Viewer];
    let mut deleted = Vec::new();
    run(&mut o, |step, _| {
        if let Step::DeleteUser(id, _) = step {
            deleted.push(id.clone());
        }
        false
    });
    assert_eq!(deleted, [old.user_id]);
}

#[test]
fn an_attempt_does_not_become_the_user_that_a_tenant_names() {
    let rotating = || {
        let mut o = in_use();
        annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
        // It dies before the new token is published.
        let staged = |step: &Step, o: &mut Observed| {
            if let Step::Publish(..) = step {
                o.answers.published = Some(Committed::No(problem(Reason::SecretRejected)));
                return true;
            }
            created(step, o)
        };
        let (_, rest) = run(&mut o, staged);
        object(&mut o).status = rest.status.map(|s| *s);
        o.answers = Answers::default();
        claim(&mut o, NEXT, "pu-1");
        o
    };
    // The staged token is published over it.
    let mut o = rotating();
    let new = o.staged[0].user_id.clone().unwrap();
    let (steps, _) = run(&mut o, |step, o| match step {
        Step::ReadUser(id) => {
            let (id, nonce) = (id.clone(), if *id == new { NEXT } else { NONCE });
            let details = own(o, &id, nonce);
            answer_read(step, o, Some(details));
            true
        }
        _ => created(step, o),
    });
    assert!(steps.contains(&"publish"), "{steps:?}");
    assert_eq!(status(&o).journal.pending.as_ref().map(|p| &*p.nonce), Some(NEXT));
    // Without the staged token the attempt is given up: no user is both current and replaced.
    let mut o = rotating();
    o.staged.clear();
    let (_, rest) = run(&mut o, created);
    let journal = rest.status.unwrap().journal;
    assert_eq!(journal.current.unwrap().user_id, "pu-1");
    assert!(journal.retiring.is_empty(), "{:?}", journal.retiring);
    assert_eq!(journal.abandoned[0].nonce, NEXT);
}

/// A deletion with `Retain` while an attempt is pending records no user that a tenant names.
#[test]
fn what_is_retained_is_no_user_that_a_tenant_names() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let unpublished = |step: &Step, o: &mut Observed| {
        if let Step::Stage { .. } = step {
            o.answers.staged = Some(Committed::Unknown(problem(Reason::SecretRejected)));
            return true;
        }
        created(step, o)
    };
    let (_, rest) = run(&mut o, unpublished);
    object(&mut o).status = rest.status.map(|s| *s);
    o.answers = Answers::default();
    claim(&mut o, NEXT, "pu-1");
    object(&mut o).spec.deletion_policy = crate::api::DeletionPolicy::Retain;
    object(&mut o).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let mut recorded = Vec::new();
    run(&mut o, |step, o| {
        if let Step::Record(user) = step {
            recorded.push((user.nonce.clone(), user.user_id.clone()));
        }
        created(step, o)
    });
    assert!(
        recorded.iter().all(|(nonce, id)| nonce == NONCE && id == "pu-1"),
        "{recorded:?}"
    );
}
