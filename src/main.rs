//! The `programmatic-users` binary.

fn main() {}
