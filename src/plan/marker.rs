//! The marker in a user's platform name, by which the operator knows the users that it made.
//!
//! The platform has no labels, no owner field and no unique names, so ownership lives in the name:
//! `<displayName>/k8s.<instance>.<uid8>.<nonce>`.

use sha2::{Digest as _, Sha256};

/// Between display name and marker. `/` may not occur in a display name.
const START: &str = "/k8s.";
/// No limit of the platform is published; this fits every one that is in use.
const MAX_NAME: usize = 64;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Length of an operator's instance id.
pub const INSTANCE_LEN: usize = 6;
const UID_LEN: usize = 8;
/// 80 random bits: no two attempts of any operator ever share one.
pub const NONCE_LEN: usize = 16;

/// What a user's name says about its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The operator's installation.
    pub instance: String,
    /// Digest of the object's UID.
    pub uid8: String,
    /// The attempt.
    pub nonce: String,
}

impl Marker {
    /// The marker of one attempt for the object with this UID.
    #[must_use]
    pub fn new(instance: &str, uid: &str, nonce: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            uid8: uid8(uid),
            nonce: nonce.to_owned(),
        }
    }

    /// Reads a user's platform name; `None` for a user that no operator of this kind made.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (_, marker) = name.rsplit_once(START)?;
        let mut parts = marker.split('.');
        let (instance, uid8, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && uid8.len() == UID_LEN && is_base32(uid8);
        let plain = is_instance(instance) && is_nonce(nonce);
        (whole && plain).then(|| Self {
            instance: instance.to_owned(),
            uid8: uid8.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// The user's platform name. A long display name is cut, never the marker.
    #[must_use]
    pub fn name(&self, display_name: &str) -> String {
        let marker = format!("{START}{}.{}.{}", self.instance, self.uid8, self.nonce);
        let mut cut = MAX_NAME.saturating_sub(marker.len()).min(display_name.len());
        while !display_name.is_char_boundary(cut) {
            cut -= 1;
        }
        format!("{}{marker}", &display_name[..cut])
    }
}

/// Whether `text` has the form of an installation's id.
#[must_use]
pub fn is_instance(text: &str) -> bool {
    text.len() == INSTANCE_LEN && is_base32(text)
}

/// Whether `text` has the form of a nonce; journals and annotations may hold anything.
#[must_use]
pub fn is_nonce(text: &str) -> bool {
    text.len() == NONCE_LEN && is_base32(text)
}

/// The first `len` digits, or as many as there are, of the lower-case base32 form of `bytes`.
#[must_use]
pub fn base32(bytes: &[u8], len: usize) -> String {
    let bit = |i: usize| usize::from(bytes[i / 8] >> (7 - i % 8) & 1);
    let digits = (bytes.len() * 8 / 5).min(len);
    (0..digits)
        .map(|d| char::from(ALPHABET[(0..5).fold(0, |digit, i| digit << 1 | bit(d * 5 + i))]))
        .collect()
}

fn uid8(uid: &str) -> String {
    base32(&Sha256::digest(uid.as_bytes()), UID_LEN)
}

fn is_base32(text: &str) -> bool {
    text.bytes().all(|b| ALPHABET.contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Marker, base32};

    #[test]
    fn names_are_cut_before_the_marker() {
        let marker = Marker::new("abcdef", "uid", "aaaabbbbccccdddd");
        let name = marker.name(&"x".repeat(64));
        assert_eq!(name.len(), 64);
        assert_eq!(Marker::parse(&name), Some(marker));
    }

    #[test]
    fn users_of_others_have_no_marker() {
        for name in [
            "ci",
            "ci/k8s.x.y.z",
            "/k8s.abcdef.abcdefgh.short",
            "a/k8s.ABCDEF.abcdefgh.aaaabbbbccccdddd",
            "",
        ] {
            assert_eq!(Marker::parse(name), None, "{name}");
        }
    }

    #[test]
    fn base32_uses_all_bits() {
        assert_eq!(base32(&[0xff; 10], 16), "7777777777777777");
        assert_eq!(base32(&[0x00; 10], 16), "aaaaaaaaaaaaaaaa");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(display in "[^+=@/]{0,80}", uid in ".{0,40}", nonce: [u8; 10], instance: [u8; 4]) {
            let marker = Marker::new(&base32(&instance, 6), &uid, &base32(&nonce, 16));
            let name = marker.name(&display);
            prop_assert!(name.len() <= 64);
            prop_assert_eq!(Marker::parse(&name), Some(marker));
        }

        #[test]
        fn reading_never_fails_badly(name in ".*") {
            let _ = Marker::parse(&name);
        }
    }
}
