//! What the tests and the demo stand on: a real cluster, real processes, and words to describe a test's world with.
//!
//! | file | what it gives |
//! |---|---|
//! | `cluster` | the control plane (and node) that all tests share |
//! | `lease` | the connection that keeps it alive |
//! | `world` | one test's namespaces, platform, controller, organization and class |
//! | `observe` | waiting for, and reading, what the operator did |
//! | `builders` | `ProgrammaticUser` and class objects as sentences |
//! | `platform`, `operator` | the two processes under test |
//! | `proxy` | stands between controller and API server, or platform, and makes faults |
//! | `process` | child processes that end with the test, however it ends |
//! | `programs` | the Go programs that tests run, built once and kept outside the checkout |
//! | `prometheus` | a Prometheus that reads the metrics and evaluates the chart's alerts |
//! | `pod` | a pod that runs a script, or the same script with the environment that the pod would have |
//! | `workloads` | workloads whose pods run a script |
//! | `audit` | what the API server recorded |
//! | `canary` | looks for tokens where none may be |
//! | `wait` | polling towards a deadline |
// A harness is loud by design: whatever it cannot do ends the test with a sentence. Each test binary uses its own
// part of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    dead_code,
    unused_imports
)]

pub mod audit;
pub mod builders;
pub mod canary;
pub mod cluster;
pub mod lease;
pub mod observe;
pub mod operator;
pub mod platform;
pub mod pod;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxied;
pub mod proxy;
pub mod rights;
pub mod wait;
pub mod workloads;
pub mod world;

pub use builders::{ClassBuilder, UserBuilder};
pub use cluster::Cluster;
pub use operator::Operator;
pub use platform::Platform;
pub use wait::eventually;
pub use world::World;

/// A first account of every test's platform.
pub const PAYMENTS: &str = "act-11aa22bb";
/// A second one.
pub const BILLING: &str = "act-33cc44dd";
