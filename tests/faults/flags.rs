//! Flags of the controllers of plans.

use std::process::Command;
use std::sync::OnceLock;

use crate::support::cluster::{binary, run};

/// Short deadlines: a settle window of seconds.
pub fn fast() -> Vec<String> {
    known(&["--create-timeout", "2s", "--settle-slack", "1s"])
}

/// The same with a lease of its own: it believes that it leads alone.
pub fn second() -> Vec<String> {
    let mut flags = fast();
    flags.extend(known(&["--lease-name", "second"]));
    flags
}

/// The flags, pairs of name and value, that this controller has.
fn known(flags: &[&str]) -> Vec<String> {
    static HELP: OnceLock<String> = OnceLock::new();
    let help = HELP.get_or_init(|| {
        run(Command::new(binary()).args(["controller", "--help"]), None).expect("the controller has help")
    });
    let pairs = flags.chunks(2).filter(|pair| help.contains(pair[0]));
    pairs.flatten().map(|&flag| flag.to_owned()).collect()
}
