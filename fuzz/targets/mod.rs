//! What tenants, platforms and callers feed into parsers, one function for each: it takes any bytes, and ends the process
//! if the parser breaks a promise.
//!
//! `fuzz_targets/any.rs` hands these functions to libFuzzer (`make fuzz`), and `tests/fuzz.rs` runs each of them over its
//! corpus and a fixed number of mutations (`make test`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a broken promise ends the process"
)]

mod answers;
mod journal;
mod policies;
mod requests;
mod tenant;

use std::borrow::Cow;

/// One parser under test.
pub struct Target {
    /// Its folder in `corpus/`.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Mutations in `make test`.
    pub mutations: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), mutations: usize) -> Target {
    Target { name, run, mutations }
}

pub const TARGETS: [Target; 17] = [
    target("duration", tenant::duration, 20_000),
    target("window", tenant::window, 15_000),
    target("template", tenant::template, 20_000),
    target("object", tenant::object, 10_000),
    target("endpoint", tenant::endpoint, 20_000),
    target("name", journal::name, 20_000),
    target("marker", journal::marker, 20_000),
    target("journal", journal::journal, 8000),
    target("time", answers::time, 20_000),
    target("reply", answers::reply, 15_000),
    target("answer", answers::answer, 2000),
    target("policy", policies::policy, 6000),
    target("pattern", policies::pattern, 5000),
    target("body", requests::body, 1000),
    target("query", requests::query, 2000),
    target("form", requests::form, 1500),
    target("request", requests::request, 1500),
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    const ALL: &[Target] = &TARGETS;
    ALL.iter().find(|target| target.name == name)
}

fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// The first line, and what follows it.
fn first_line(data: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    (text(&data[..end]), data.get(end + 1..).unwrap_or_default())
}
