//! What an object may ask for at each level of `--consumers`.

use super::consumers::*;
use super::rotation::*;
use super::*;
use crate::api::{RESTARTING_CONSUMERS, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, WAITING_FOR_CONSUMERS};

#[test]
fn nothing_is_restarted_while_the_secret_does_not_carry_the_token() {
    let mut o = replaced(true, false);
    o.current_secret = SecretView::Absent;
    o.next_secret = SecretView::Absent;
    let (steps, _) = run(&mut o, |step, o| {
        let pods_asked = matches!(step, Step::ReadPods(_));
        if pods_asked {
            o.answers.pods = Some(Ok(pods().into()));
        }
        pods_asked || created(step, o)
    });
    assert!(!steps.contains(&"restart"), "{steps:?}");
    assert!(steps.contains(&"publish"), "{steps:?}");
}

#[test]
fn an_installation_that_may_not_says_so_before_anything_is_made() {
    let ask = |level: Level, restart: bool, wait: bool| {
        let mut o = consumed(restart, wait);
        object(&mut o).status = None;
        (o.current_secret, o.next_secret) = (SecretView::Absent, SecretView::Absent);
        o.consumers.level = level;
        let (steps, rest) = run(&mut o, created);
        (steps, condition(&rest, STALLED).map(|c| (c.1, c.2)))
    };
    for (level, restart, wait, words) in [
        (
            Level::Observe,
            true,
            false,
            "--consumers=restart, and this one runs with --consumers=observe",
        ),
        (
            Level::Off,
            true,
            true,
            "--consumers=restart, and this one runs with --consumers=off",
        ),
        (
            Level::Off,
            false,
            true,
            "--consumers=observe, and this one runs with --consumers=off",
        ),
    ] {
        let (steps, reported) = ask(level, restart, wait);
        assert_eq!(steps, Vec::<&str>::new());
        let (reason, message) = reported.unwrap();
        assert_eq!(reason, "ConsumersNotEnabled");
        assert!(
            message.contains(words) && message.contains("the chart's value consumers"),
            "{message}"
        );
    }
    assert_eq!(ask(Level::Observe, false, true).1, None);
    assert_eq!(ask(Level::Off, false, false).1, None);
}

#[test]
fn defaults_of_the_class_count_and_its_longer_overlap_needs_a_longer_bound() {
    let mut o = consumed(false, false);
    let spec = &mut object(&mut o).spec;
    (spec.consumers, spec.rotation) = (None, None);
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    let defaults = json!({
        "consumers": {"restart": "OnRotation"},
        "rotation": {"waitForConsumers": true, "maxOverlap": "30h"}
    });
    class.spec.defaults = Some(serde_json::from_value(defaults).unwrap());
    o.consumers.level = Level::Observe;
    let (_, rest) = run(&mut o, created);
    assert_eq!(reason(&rest), "Ready", "its token works");
    assert_eq!(
        condition(&rest, RESTARTING_CONSUMERS).unwrap().1,
        "ConsumersNotEnabled"
    );
    assert!(condition(&rest, WAITING_FOR_CONSUMERS).is_none());
    o.consumers.level = Level::Off;
    let (_, rest) = run(&mut o, created);
    assert_eq!(
        condition(&rest, WAITING_FOR_CONSUMERS).unwrap().1,
        "ConsumersNotEnabled"
    );
    o.consumers.level = Level::Restart;
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, created);
    let status = rest.status.unwrap();
    assert_eq!(status.journal.retiring[0].not_after, Some(after(30 * 3600)));
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    class.spec.rotation = Some(serde_json::from_value(json!({"minOverlap": "40h"})).unwrap());
    o.answers = Answers::default();
    let (_, rest) = run(&mut o, created);
    assert_eq!(reason(&rest), "InvalidSpec");
    assert!(condition(&rest, READY).unwrap().2.contains("here 40h"));
}

#[test]
fn an_installation_that_may_not_restart_revokes_all_the_same_and_says_what_it_does_not() {
    let mut o = consumed(true, false);
    o.consumers.level = Level::Observe;
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (steps, rest) = run(&mut o, created);
    assert!(steps.contains(&"publish"), "{steps:?}");
    assert_eq!(reason(&rest), "Ready");
    let (_, reported, message) = condition(&rest, RESTARTING_CONSUMERS).unwrap();
    assert_eq!(reported, "ConsumersNotEnabled");
    assert!(message.contains("--consumers=restart"), "{message}");
    // The old token dies in the next reconcile, and that is at once.
    assert_eq!(rest.requeue, Requeue::After(Duration::from_millis(50)));
    later(&mut o, rest);
    assert!(status(&o).journal.retiring[0].is_revoked());
    let (steps, rest) = run_at(&mut o, 0, &pods());
    assert_eq!(names(&steps)[..1], ["delete-user"]);
    assert!(rest.status.unwrap().journal.retiring.is_empty());
}
