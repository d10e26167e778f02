//! The marker in a user's platform name, by which the operator knows the users that it made.
//!
//! The platform has no labels, no owner field and no unique names, so ownership lives in the name:
//! `<displayName>/k8s.<instance>.<object>.<nonce>`.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Between display name and marker. `/` may not occur in a display name.
const START: &str = "/k8s.";
/// No limit of the platform is published; this fits every one that is in use.
const MAX_NAME: usize = 64;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Length of an operator's instance id.
pub const INSTANCE_LEN: usize = 6;
/// 60 bits: of a million objects two share them with a chance of one in two million.
const OBJECT_LEN: usize = 12;
/// Earlier versions wrote 40 bits. Of 100,000 objects two share these with a chance of one in 200.
const SHORT_OBJECT_LEN: usize = 8;
/// 80 random bits: no two attempts of any operator ever share one.
pub const NONCE_LEN: usize = 16;

/// What a user's name says about its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The operator's installation.
    pub instance: String,
    /// Digest of the object's UID. In the marker that an earlier version wrote it is shorter.
    pub object: String,
    /// The attempt.
    pub nonce: String,
}

impl Marker {
    /// The marker of one attempt for the object with this UID.
    #[must_use]
    pub fn new(instance: &str, uid: &str, nonce: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            object: base32(&Sha256::digest(uid.as_bytes()), OBJECT_LEN),
            nonce: nonce.to_owned(),
        }
    }

    /// Reads a user's platform name; `None` for a user that no operator of this kind made.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (_, marker) = name.rsplit_once(START)?;
        let mut parts = marker.split('.');
        let (instance, object, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && [OBJECT_LEN, SHORT_OBJECT_LEN].contains(&object.len());
        let plain = is_instance(instance) && is_base32(object) && is_nonce(nonce);
        (whole && plain).then(|| Self {
            instance: instance.to_owned(),
            object: object.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// Whether a user with this marker was made by the attempt `wanted`: as many digits of the UID are compared as this
    /// marker has.
    #[must_use]
    pub fn is_of(&self, wanted: &Self) -> bool {
        self.instance == wanted.instance
            && self.nonce == wanted.nonce
            && wanted.object.starts_with(&self.object)
    }

    /// Whether other objects than the one that the user was made for may have the same digest.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.object.len() < OBJECT_LEN
    }

    /// The same marker as an earlier version wrote it.
    #[must_use]
    pub fn short(&self) -> Self {
        Self {
            object: self.object.chars().take(SHORT_OBJECT_LEN).collect(),
            ..self.clone()
        }
    }

    /// The value of the object that the marker names, by the digests of the objects' UIDs.
    #[must_use]
    pub fn find<'a, V>(&self, objects: &'a BTreeMap<String, V>) -> Option<&'a V> {
        let (digest, value) = objects.range(self.object.clone()..).next()?;
        digest.starts_with(&self.object).then_some(value)
    }

    /// The user's platform name. A long display name is cut, never the marker.
    #[must_use]
    pub fn name(&self, display_name: &str) -> String {
        let marker = format!("{START}{}.{}.{}", self.instance, self.object, self.nonce);
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

fn is_base32(text: &str) -> bool {
    text.bytes().all(|b| ALPHABET.contains(&b))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Marker, base32};

    #[test]
    fn a_marker_has_sixty_bits_of_the_uid_and_one_of_an_earlier_version_stays_readable() {
        let now = Marker::new("abcdef", "uid", "aaaabbbbccccdddd");
        let before = now.short();
        assert_eq!((now.object.len(), before.object.len()), (12, 8));
        assert!(!now.is_short() && before.is_short());
        for marker in [&now, &before] {
            let read = Marker::parse(&marker.name("ci")).unwrap();
            assert_eq!(read, *marker);
            assert!(read.is_of(&now));
            let other = |uid, instance, nonce| Marker::new(instance, uid, nonce);
            assert!(!read.is_of(&other("uid2", "abcdef", "aaaabbbbccccdddd")));
            assert!(!read.is_of(&other("uid", "abcdeg", "aaaabbbbccccdddd")));
            assert!(!read.is_of(&other("uid", "abcdef", "aaaabbbbcccceeee")));
        }
        assert!(
            !now.is_of(&before),
            "a longer digest says more than a shorter one"
        );
        let objects = BTreeMap::from([(now.object.clone(), 1), ("a".repeat(12), 2), ("7".repeat(12), 3)]);
        assert_eq!((now.find(&objects), before.find(&objects)), (Some(&1), Some(&1)));
        assert_eq!(Marker::new("abcdef", "gone", "").find(&objects), None);
        assert_eq!(Marker::new("abcdef", "gone", "").short().find(&objects), None);
    }

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
            "a/k8s.abcdef.abcdefghab.aaaabbbbccccdddd",
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
            prop_assert!(display.len() > 23 || name.starts_with(&display));
            prop_assert_eq!(Marker::parse(&name), Some(marker));
        }

        #[test]
        fn reading_never_fails_badly(name in ".*") {
            let _ = Marker::parse(&name);
        }
    }
}
