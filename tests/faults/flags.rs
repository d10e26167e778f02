//! Flags of the controllers of plans.

use super::flow::Flow;

/// Short deadlines: a settle window, and a wait for a killed leader's Lease, of seconds.
pub const FAST: [&str; 6] = [
    "--create-timeout",
    "2s",
    "--settle-slack",
    "1s",
    "--lease-duration",
    "5s",
];

/// The same with a Lease of its own: it believes that it leads alone.
pub fn second(flow: Flow) -> Vec<String> {
    let mut flags = [&FAST as &[&str], &["--lease-name", "second"]].concat();
    if flow == Flow::Restart {
        flags.extend(["--consumers", "restart"]);
    }
    flags.into_iter().map(str::to_owned).collect()
}
