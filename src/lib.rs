//! Kubernetes operator for API-only users of a cloud-administration platform, and the embedded platform.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`api`] | the custom resources, types only | nothing of this crate |
//! | [`plan`] | decides; pure: no IO, no clock, no randomness | `api`, wire types of `platform` |
//! | [`platform`] | wire types, error model and typed client of the platform's API | nothing of this crate |
//! | [`controller`] | observes, applies what `plan` decided, writes status | all but `server` |
//! | [`server`] | the embedded platform | wire types of `platform`; never `kube`, `api`, `plan`, `controller` |
//! | [`command`] | what people ask of the cluster and the platform: `get`, `why`, `audit`, `doctor` and the others | all but `server` and `controller` |
//! | [`metrics`], [`health`], [`telemetry`] | what the controller tells of itself: metrics, probes, logs | `api` |
//! | `connections` | bounds of what anyone can connect to | nothing of this crate |
//! | [`cli`] | flags and environment to configuration | all |
//!
//! A test (`tests/structure.rs`) checks these rules.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod command;
mod connections;
pub mod controller;
pub mod crds;
pub mod health;
pub mod metrics;
pub mod plan;
pub mod platform;
pub mod server;
pub mod shutdown;
pub mod telemetry;
