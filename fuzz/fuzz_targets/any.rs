//! The target that the variable `TARGET` names, for libFuzzer. One program for all of them is linked once.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let target = targets::find(&name);
    target
        .unwrap_or_else(|| panic!("TARGET={name} names none of the targets"))
        .run
});

fuzz_target!(|data: &[u8]| RUN(data));
