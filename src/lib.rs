//! Kubernetes operator for API-only users of a cloud-administration platform, and the embedded platform.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`api`] | the custom resources, types only | nothing of this crate |
//! | [`plan`] | decides; pure: no IO, no clock, no randomness | `api`, wire types of `platform` |
//! | [`platform`] | the crate `platform-api`: wire types, error model and typed client of the platform's API | no Kubernetes, no database |
//! | [`controller`] | observes, applies what `plan` decided, writes status | all but `server` |
//! | [`server`] | the crate `platform-server`: the embedded platform | `platform`, no Kubernetes |
//! | [`command`] | what people ask of the cluster and the platform: `get`, `why`, `audit`, `doctor` and the others | all but `server` and `controller` |
//! | [`metrics`], [`health`], [`telemetry`] | metrics, probes and logs of the controller | `api`, `server::connections` |
//! | [`cli`] | flags and environment to configuration | all |
//!
//! Cargo and a test (`tests/structure.rs`) check these rules.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod api;
pub mod cli;
pub mod command;
pub mod controller;
pub mod crds;
pub mod health;
pub mod metrics;
pub mod plan;
pub mod shutdown;
pub mod telemetry;

pub use platform_api as platform;
pub use platform_server as server;
