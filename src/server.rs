//! The embedded platform.
