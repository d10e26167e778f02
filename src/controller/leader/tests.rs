//! The decisions of a candidate and of a leader.

use std::time::{Duration, Instant};

use crate::controller::leader::{LeaseAction, Record, decide};

const S: Duration = Duration::from_secs(1);

fn record(holder: &str, changed: Instant) -> Record {
    Record {
        holder: holder.to_owned(),
        version: "7".to_owned(),
        duration: S * 15,
        changed,
    }
}

#[test]
fn a_candidate_waits_for_as_long_as_it_has_seen_no_change() {
    let seen = Instant::now();
    let other = record("other", seen);
    let at = |after: Duration| decide(Some(&other), "me", None, seen + after);
    assert_eq!(at(Duration::ZERO), LeaseAction::Wait(S * 15));
    assert_eq!(at(S * 14), LeaseAction::Wait(S));
    assert_eq!(at(S * 15), LeaseAction::Acquire);
    assert_eq!(at(S * 100), LeaseAction::Acquire);
}

#[test]
fn the_holders_own_duration_counts() {
    let seen = Instant::now();
    let patient = Record {
        duration: S * 60,
        ..record("other", seen)
    };
    assert_eq!(
        decide(Some(&patient), "me", None, seen + S * 59),
        LeaseAction::Wait(S)
    );
}

#[test]
fn a_record_that_is_missing_or_given_back_is_free() {
    let now = Instant::now();
    assert_eq!(decide(None, "me", None, now), LeaseAction::Create);
    assert_eq!(
        decide(Some(&record("", now)), "me", None, now),
        LeaseAction::Acquire
    );
}

#[test]
fn a_leader_renews_while_it_is_certain() {
    let now = Instant::now();
    let mine = record("me", now);
    let until = Some(now + S * 15);
    assert_eq!(decide(Some(&mine), "me", until, now + S * 14), LeaseAction::Renew);
    assert_eq!(
        decide(None, "me", until, now),
        LeaseAction::Create,
        "the record was removed"
    );
}

#[test]
fn a_leader_whose_time_is_over_or_whose_name_is_gone_has_lost() {
    let now = Instant::now();
    let until = Some(now + S * 15);
    let mine = record("me", now);
    assert_eq!(
        decide(Some(&mine), "me", until, now + S * 15),
        LeaseAction::Lost,
        "even if no other replica has it"
    );
    for other in ["other", ""] {
        assert_eq!(
            decide(Some(&record(other, now)), "me", until, now),
            LeaseAction::Lost
        );
    }
}

#[test]
fn two_clocks_need_not_agree() {
    // The leader's renewal was sent at 0, written at 1 and seen by the candidate at 2: the leader stops at 15, the
    // candidate begins at 17, whatever time of day either believes it is.
    let zero = Instant::now();
    let leader = Some(zero + S * 15);
    let seen = record("leader", zero + S * 2);
    for t in 0..30 {
        let now = zero + S * t;
        let leads = decide(Some(&record("leader", zero)), "leader", leader, now) != LeaseAction::Lost;
        let takes = decide(Some(&seen), "candidate", None, now.max(seen.changed)) == LeaseAction::Acquire;
        assert!(!(leads && takes), "both at {t}");
    }
}
