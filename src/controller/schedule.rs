//! Which object is reconciled, when, and how many at once.

pub(in crate::controller) mod concurrency;
pub(in crate::controller) mod digest;
pub(in crate::controller) mod jitter;
pub(in crate::controller) mod object_state;
pub(in crate::controller) mod queue_lag;
pub(in crate::controller) mod records;
pub(in crate::controller) mod triggers;
