//! What the operator watches: one stream for each kind, cut down to what it decides by.

pub(in crate::controller) mod cached_user;
pub(in crate::controller) mod readable;
pub(in crate::controller) mod startup_scan;
pub(in crate::controller) mod streams;
