//! The plans: every flow, at each of its write points, with each thing that can go wrong there.

use std::collections::BTreeSet;

use super::column::Column;
use super::flow::{End, Flow};
use super::point::Point;

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub flow: Flow,
    /// `None` with [`Column::None`] only.
    pub point: Option<Point>,
    pub column: Column,
    /// Fault-free runs are repeated, to be compared with each other.
    pub round: usize,
}

/// Fault-free runs of each flow.
const ROUNDS: usize = 2;

/// Plans of plain `cargo test`: every write point and every column is among them.
const SUBSET: &[&str] = &[
    "*/none/1",
    "create/W2-intent/*",
    "create/W3-post/*",
    "create/W4-secret/*",
    "create/W5-promote/crash-*",
    "create/W1-finalizer/crash-after",
    "create/W2-dry-run/conflict-409",
    "recover-refused-secret/W13-event/error-500",
    "create/W14-lease/answer-lost",
    "create-mapped/W4-stage/second-leader",
    "create-mapped/W6-groups/crash-after",
    "create-mapped/W11-unstage/crash-before",
    "regrant/W6-grant/crash-*",
    "regrant/W6-policies/stalls",
    "regrant/W5-access/applied-504",
    "rotate/W4-stage/crash-*",
    "rotate/W4-stage/second-leader-ends",
    "rotate-lost-token/W7-bar/crash-after",
    "rotate-lost-token/W7-bar/second-leader",
    "rotate/W4-secret/second-leader-ends",
    "rotate/W5-promote/crash-after",
    "rotate/W10-retired/conflict-409",
    "rotate-restart/W15-restart/crash-*",
    "rotate-restart/W15-restart/conflict-409",
    "rotate-restart/W15-restart/second-leader",
    "rotate-lost-token/W7-fence/error-500",
    "rotate-staged/W4-secret/crash-after",
    "delete/W9-guard/*",
    "recover-lost-token/W9-guard/lie-missing",
    "delete/W9-delete-user/*",
    "delete/W11-delete-secret/second-leader",
    "delete/W12-unfinalize/answer-lost",
    "recover-lost-token/W7-fence/crash-after",
    "recover-lost-token/W8-abandon/second-leader",
    "recover-lost-token/W9-list/lie-lacks-newest",
    "recover-lost-token/W9-guard/error-500",
    "recover-lost-token/W10-forget/stale-read",
    "recover-refused-secret/W8-drop/crash-before",
    "recover-committed/W5-promote/conflict-409",
    "retain/W16-record/crash-*",
    "retain/W16-record/answer-lost",
    "retain/W17-release/crash-*",
    "retain/W17-release/second-leader",
    "delete-committed/W12-unfinalize/crash-before",
];

impl Plan {
    pub fn name(&self) -> String {
        match self.point {
            Some(point) => format!("{}/{}/{}", self.flow.name(), point.name(), self.column.name()),
            None => format!("{}/none/{}", self.flow.name(), self.round),
        }
    }

    /// How often the whole organization is looked through. What arrives after its attempt was forgotten is found only so,
    /// and what one leader put up against an attempt that the other brought to its end; the others have to do without.
    pub fn drift(&self) -> &'static str {
        if matches!(self.column, Column::SecondLeader | Column::SecondLeaderEnds) {
            "3s"
        } else {
            "5m"
        }
    }

    /// How it has to end.
    pub fn end(&self) -> End {
        // A user that appears after the settle window is known by its marker only. After a restore of the cluster it
        // might be the one in use, so that it is reported and not deleted.
        if (self.point, self.column) == (Some(Point::Post), Column::SecondLeaderEnds) {
            return End::Reported;
        }
        self.flow.end()
    }
}

/// The whole matrix.
pub fn all() -> Vec<Plan> {
    let mut plans = Vec::new();
    for flow in Flow::ALL {
        plans.extend((1..=ROUNDS).map(|round| Plan {
            flow,
            point: None,
            column: Column::None,
            round,
        }));
        for &point in flow.points() {
            plans.extend(Column::at(point).into_iter().map(|column| Plan {
                flow,
                point: Some(point),
                column,
                round: 1,
            }));
        }
    }
    plans
}

/// The plans of this run: those that `FAULT` names, all of them with `FAULTS=all`, and otherwise the subset.
pub fn selected() -> Vec<(usize, Plan)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let (only, all_of_them) = (variable("FAULT"), variable("FAULTS").is_some_and(|v| v == "all"));
    let wanted = |plan: &Plan| {
        let name = plan.name();
        match &only {
            Some(patterns) => patterns.split_whitespace().any(|p| matches(p, &name)),
            None => all_of_them || SUBSET.iter().any(|p| matches(p, &name)),
        }
    };
    all()
        .into_iter()
        .enumerate()
        .filter(|(_, plan)| wanted(plan))
        .collect()
}

/// Whether a name fits a pattern, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(left) = name.strip_prefix(start) else {
        return false;
    };
    (0..=left.len())
        .filter(|i| left.is_char_boundary(*i))
        .any(|i| matches(rest, &left[i..]))
}

/// Every pattern names something, and the subset has every point and every column.
#[test]
fn the_subset_is_of_the_whole() {
    let all = all();
    let names: BTreeSet<String> = all.iter().map(Plan::name).collect();
    assert_eq!(names.len(), all.len(), "names are unique");
    for pattern in SUBSET {
        assert!(
            names.iter().any(|n| matches(pattern, n)),
            "{pattern} names no plan"
        );
    }
    let (mut points, mut columns, mut subset) = (BTreeSet::new(), BTreeSet::new(), 0);
    for plan in &all {
        if SUBSET.iter().any(|p| matches(p, &plan.name())) {
            points.insert(plan.point);
            columns.insert(plan.column);
            subset += 1;
        }
    }
    assert_eq!(points, all.iter().map(|p| p.point).collect());
    assert_eq!(columns, all.iter().map(|p| p.column).collect());
    assert!(all.len() >= 250 && subset >= 60, "{} and {subset}", all.len());
}
