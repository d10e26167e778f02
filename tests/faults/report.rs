//! The report at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::column::Column;
use super::flow::Flow;
use super::plan::Plan;
use super::point::Point;

/// What became of a plan.
pub struct Outcome {
    pub plan: Plan,
    /// What is wrong; empty is good.
    pub wrong: Vec<String>,
    /// All that went through the proxies, of a plan that failed.
    pub trace: String,
    /// Writes of a fault-free run.
    pub writes: Vec<String>,
    /// Digests of the tokens that the platform handed out.
    pub tokens: Vec<String>,
    began: Instant,
}

impl Outcome {
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            wrong: vec![],
            trace: String::new(),
            writes: vec![],
            tokens: vec![],
            began: Instant::now(),
        }
    }

    /// One line, as it ends.
    pub fn line(&self) -> String {
        let verdict = if self.wrong.is_empty() { "ok" } else { "FAILED" };
        let took: Duration = self.began.elapsed();
        let wrong = self.wrong.first().map(|w| format!(": {w}")).unwrap_or_default();
        format!(
            "{verdict:<6} {:>5.1} s  {}{wrong}",
            took.as_secs_f64(),
            self.plan.name()
        )
    }

    /// All that is known of a plan that failed.
    pub fn story(&self) -> Option<String> {
        if self.wrong.is_empty() {
            return None;
        }
        let name = self.plan.name();
        let wrong = self.wrong.join("\n  ");
        Some(format!(
            "=== {name}\n  {wrong}\n  again: FAULT='{name}' cargo test --test faults -- --show-output\n{}",
            self.trace
        ))
    }
}

/// Fault-free runs of one flow that did not write the same.
pub fn unequal(outcomes: &[Outcome]) -> Vec<String> {
    let mut first: BTreeMap<Flow, &Outcome> = BTreeMap::new();
    let mut found = Vec::new();
    let whole = outcomes
        .iter()
        .filter(|o| o.plan.column == Column::None && o.wrong.is_empty());
    for outcome in whole {
        let other = first.entry(outcome.plan.flow).or_insert(outcome);
        if other.writes != outcome.writes {
            found.push(format!(
                "{} wrote {:#?}\nand {} wrote {:#?}",
                other.plan.name(),
                other.writes,
                outcome.plan.name(),
                outcome.writes
            ));
        }
    }
    found
}

/// Write points by columns, one table a flow: `+` is good, `F` failed, `.` was not run.
pub fn table(outcomes: &[Outcome]) -> String {
    let columns: Vec<Column> = Column::ALL.into_iter().filter(|c| *c != Column::None).collect();
    let mut text = String::new();
    // Writing into a String cannot fail.
    for (i, column) in columns.iter().enumerate() {
        let _ = writeln!(text, "{:>24} {}{}", "", "| ".repeat(i), column.name());
    }
    for flow in Flow::ALL {
        let of_flow: Vec<&Outcome> = outcomes.iter().filter(|o| o.plan.flow == flow).collect();
        if of_flow.is_empty() {
            continue;
        }
        let good = of_flow.iter().filter(|o| o.wrong.is_empty()).count();
        let _ = writeln!(text, "{}: {good} of {} good", flow.name(), of_flow.len());
        for &point in flow.points() {
            let cells: Vec<&str> = columns
                .iter()
                .map(|&column| cell(&of_flow, point, column))
                .collect();
            let _ = writeln!(text, "{:>24} {}", point.name(), cells.join(" "));
        }
    }
    let good = outcomes.iter().filter(|o| o.wrong.is_empty()).count();
    let _ = write!(
        text,
        "{good} of {} plans good, {} in the whole matrix",
        outcomes.len(),
        super::plan::all().len()
    );
    text
}

fn cell(outcomes: &[&Outcome], point: Point, column: Column) -> &'static str {
    let is = |o: &&&Outcome| o.plan.point == Some(point) && o.plan.column == column;
    match outcomes.iter().find(is) {
        Some(outcome) if outcome.wrong.is_empty() => "+",
        Some(_) => "F",
        None if Column::at(point).contains(&column) => ".",
        None => " ",
    }
}
