//! The table, and the JSON.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::support::cluster::root;

/// A figure and what it should be.
pub struct Figure {
    key: String,
    what: String,
    value: f64,
    unit: &'static str,
    goal: Option<(String, bool)>,
}

impl Figure {
    pub fn at_least(&mut self, least: f64) {
        self.goal = Some((format!(">= {least}"), self.value >= least));
    }

    /// Only where `counts`: some goals are for a certain number of users.
    pub fn at_most(&mut self, most: f64, counts: bool) {
        if counts {
            self.goal = Some((format!("<= {most}"), self.value <= most));
        }
    }
}

/// All figures, in the order of measuring.
pub struct Report {
    users: usize,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(users: usize) -> Self {
        Self {
            users,
            figures: vec![],
            notes: vec![],
        }
    }

    pub fn figure(&mut self, key: &str, what: &str, value: f64, unit: &'static str) -> &mut Figure {
        println!("  {what}: {} {unit}", shown(value));
        self.figures.push(Figure {
            key: key.to_owned(),
            what: what.to_owned(),
            value,
            unit,
            goal: None,
        });
        self.figures.last_mut().unwrap()
    }

    /// Half, nineteen of twenty, and all but one in a hundred are not above.
    pub fn times(&mut self, key: &str, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        for percent in [50, 95, 99] {
            let at = (times.len() * percent).div_ceil(100).max(1) - 1;
            let what = format!("{what}: p{percent} of {}", times.len());
            self.figure(
                &format!("{key}_p{percent}"),
                &what,
                times[at].as_secs_f64() * 1e3,
                "ms",
            );
        }
    }

    /// Something besides.
    pub fn note(&mut self, text: &str) {
        println!("  {text}");
        self.notes.push(text.to_owned());
    }

    /// Prints the table, and writes the same where programs find it.
    pub fn finish(&self) {
        let machine = machine();
        println!("\n{} users; {machine}\n", self.users);
        let width = self
            .figures
            .iter()
            .map(|f| f.what.len())
            .max()
            .unwrap_or_default();
        for figure in &self.figures {
            let goal = figure.goal.as_ref().map_or(String::new(), |(goal, met)| {
                format!("goal {goal}: {}", if *met { "met" } else { "MISSED" })
            });
            let (what, value, unit) = (&figure.what, shown(figure.value), figure.unit);
            println!(
                "{}",
                format!("{what:<width$} {value:>10} {unit:<5} {goal}").trim_end()
            );
        }
        for note in &self.notes {
            println!("{note}");
        }
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|f| {
                let goal = f.goal.as_ref().map(|(goal, met)| json!({"is": goal, "met": met}));
                let value = json!({"what": f.what, "value": f.value, "unit": f.unit, "goal": goal});
                (f.key.clone(), value)
            })
            .collect();
        let all = json!({"users": self.users, "machine": machine, "figures": figures, "notes": self.notes});
        let path = self.path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        println!("\nwritten to {}", path.display());
    }

    fn path(&self) -> PathBuf {
        root().join(format!("target/bench/{}.json", self.users))
    }
}

fn shown(value: f64) -> String {
    let digits = if value == 0.0 || value >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let gibi = total.and_then(|t| t.parse::<u64>().ok()).unwrap_or_default() >> 20;
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    format!("{cores} cores, {gibi} GiB of memory, {build} build")
}
