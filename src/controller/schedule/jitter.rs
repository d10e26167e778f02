//! Spreads pauses, so that objects that were refused together are not reconciled together.

use std::time::Duration;

use rand::Rng as _;

/// `pause`, and up to a quarter more or less.
pub(in crate::controller) fn around(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + 0.5 * random())
}

/// `pause`, and up to a tenth more, ten seconds at most.
pub(in crate::controller) fn from(pause: Duration) -> Duration {
    let more = (pause / 10).min(Duration::from_secs(10));
    pause.saturating_add(more.mul_f64(random()))
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(rand::rng().next_u32()) / f64::from(u32::MAX)
}
