//! Explores one configuration and says what came of it.

use std::time::{Duration, Instant};

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::act::Action;
use crate::config::Config;
use crate::model::Operators;
use crate::recovery::{Recovery, brief};
use crate::world::{Phase, World};

/// Nothing takes longer.
const LIMIT: Duration = Duration::from_hours(2);

/// Steps of a recovery that are printed: one that goes in circles is long.
const MOST_PRINTED: usize = 40;

/// How a property is violated.
struct Trace {
    steps: usize,
    reported: Vec<String>,
}

pub struct Found {
    name: &'static str,
    unique: usize,
    complete: bool,
    violations: Vec<(&'static str, Trace)>,
    missed: Vec<&'static str>,
}

impl Found {
    /// The properties that a mutant violates, and the fewest steps to one.
    pub fn caught(&self) -> Option<(Vec<&'static str>, usize)> {
        let steps = self.violations.iter().map(|(_, trace)| trace.steps).min()?;
        let mut names: Vec<_> = self
            .violations
            .iter()
            .filter_map(|(name, _)| name.get(..3))
            .collect();
        names.sort_unstable();
        Some((names, steps))
    }

    pub const fn unique(&self) -> usize {
        self.unique
    }

    /// Fails unless everything was looked at and nothing is wrong.
    pub fn check(&self) {
        for (property, trace) in &self.violations {
            println!("violated: {property}\n  {}", trace.reported.join("\n  "));
        }
        assert!(
            self.violations.is_empty(),
            "{}: {} violations",
            self.name,
            self.violations.len()
        );
        assert!(self.complete, "{}: not complete", self.name);
        assert!(self.missed.is_empty(), "{}: never {:?}", self.name, self.missed);
    }
}

pub fn explore(config: Config) -> Found {
    let start = Instant::now();
    let model = Operators::new(config);
    let properties = model.properties();
    let checker = model
        .checker()
        .threads(2)
        .timeout(LIMIT)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let discoveries = checker.discoveries();
    let is_goal = |name: &str| name.starts_with('G');
    let missed = properties
        .iter()
        .map(|p| p.name)
        .filter(|n| is_goal(n) && !discoveries.contains_key(n));
    let violations = discoveries
        .iter()
        .filter(|(name, _)| !is_goal(name))
        .map(|(name, path)| {
            let path = path.clone().into_vec();
            let steps = path.len();
            (
                *name,
                Trace {
                    steps,
                    reported: narrate(checker.model(), &path),
                },
            )
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

/// A path in words: what happened, and what the process was about to do.
fn narrate(model: &Operators, path: &[(World, Option<Action>)]) -> Vec<String> {
    let mut reported: Vec<String> = path
        .iter()
        .filter_map(|(world, action)| match action.as_ref()? {
            Action::Take(i, out) if world.processes[*i].phase == Phase::Run => {
                Some(format!("{i}: {} -> {out:?}", brief(&world.processes[*i].act)))
            }
            Action::Take(i, _) => Some(format!("{i}: {:?}", world.processes[*i].phase)),
            other => Some(format!("{other:?}")),
        })
        .collect();
    if let Some((world, _)) = path.last() {
        reported.push(brief(&world.object));
        reported.push(brief(&world.secrets));
        reported.push(format!(
            "users {:b}, staged {:b}, barred {:b}, in flight {:b}, violated {:b}",
            world.users, world.staged, world.barred, world.inflight, world.broken
        ));
        reported.extend(
            Recovery::narrate(&model.decider, world)
                .into_iter()
                .take(MOST_PRINTED),
        );
    }
    reported
}
