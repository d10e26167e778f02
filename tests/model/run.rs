//! Explores one configuration and says what came of it.

use std::time::{Duration, Instant};

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::config::Config;
use crate::model::Operators;

/// Nothing takes longer.
const LIMIT: Duration = Duration::from_hours(2);

pub struct Found {
    name: &'static str,
    unique: usize,
    complete: bool,
    violations: Vec<(&'static str, Vec<String>)>,
    missed: Vec<&'static str>,
}

impl Found {
    /// Fails unless everything was looked at and nothing is wrong.
    pub fn check(&self) {
        for (property, trace) in &self.violations {
            println!("violated: {property}\n  {}", trace.join("\n  "));
        }
        assert!(self.violations.is_empty(), "{}: {} violations", self.name, self.violations.len());
        assert!(self.complete, "{}: not complete", self.name);
        assert!(self.missed.is_empty(), "{}: never {:?}", self.name, self.missed);
    }
}

pub fn explore(config: Config) -> Found {
    let start = Instant::now();
    let model = Operators::new(config);
    let properties = model.properties();
    let checker = model.checker().threads(2).timeout(LIMIT).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let discoveries = checker.discoveries();
    let is_goal = |name: &str| name.starts_with('G');
    let missed = properties.iter().map(|p| p.name).filter(|n| is_goal(n) && !discoveries.contains_key(n));
    let violations = discoveries.iter().filter(|(name, _)| !is_goal(name)).map(|(name, path)| {
        let actions = path.clone().into_actions();
        (*name, actions.iter().map(|a| format!("{a:?}")).collect())
    });
    let found = Found {
        name: config.name,
        unique: checker.unique_state_count(),
        // The checker is done after a time-out, too.
        complete: start.elapsed() < LIMIT,
        violations: violations.collect(),
        missed: missed.collect(),
    };
    println!(
        "{}: {} unique states, {} transitions, depth {}, {:.1} s, {} questions to the plan, {} worlds left alone, {} violations",
        config.name,
        found.unique,
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64(),
        checker.model().decider.asked(),
        checker.model().recovery.worlds(),
        found.violations.len(),
    );
    found
}
