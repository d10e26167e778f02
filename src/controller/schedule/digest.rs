//! Digests as keys: there may be very many objects, and of names, UIDs and versions only a hash is kept.

use std::hash::{DefaultHasher, Hash, Hasher as _};

pub(in crate::controller) type Digest = u64;

pub(in crate::controller) fn digest(value: &(impl Hash + ?Sized)) -> Digest {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
