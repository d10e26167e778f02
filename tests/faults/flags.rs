//! Flags of the controllers of plans.

/// Short deadlines: a settle window, and a wait for a killed leader's Lease, of seconds.
pub const FAST: [&str; 6] = [
    "--create-timeout",
    "2s",
    "--settle-slack",
    "1s",
    "--lease-duration",
    "4s",
];

/// The same with a Lease of its own: it believes that it leads alone.
pub fn second() -> Vec<String> {
    let more = ["--lease-name", "second"];
    FAST.iter().chain(&more).map(|&flag| flag.to_owned()).collect()
}
