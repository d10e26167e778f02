//! Typed client of the platform's API.
