//! Names of what the model numbers.

use programmatic_users::plan::{self, Marker};

use crate::world::{ALIEN, Nonce};

pub const INSTANCE: &str = "abcdef";
pub const UID: &str = "uid-1";
pub const ALIEN_ID: &str = "pu-somebody-else";
/// Id and name of the group that each version of the spec asks for.
pub const GROUPS: [(&str, &str); 2] = [("ugr-1", "deployers"), ("ugr-2", "auditors")];

pub fn nonce(n: Nonce) -> String {
    char::from(b'a' + n).to_string().repeat(plan::NONCE_LEN)
}

pub fn number(nonce: &str) -> Nonce {
    nonce.bytes().next().unwrap() - b'a'
}

pub fn user_id(n: Nonce) -> String {
    if n == ALIEN {
        ALIEN_ID.to_owned()
    } else {
        format!("pu-{n}")
    }
}

pub fn user_number(id: &str) -> Nonce {
    if id == ALIEN_ID {
        ALIEN
    } else {
        id.strip_prefix("pu-").unwrap().parse().unwrap()
    }
}

pub fn secret_name(at: u8) -> String {
    format!("token-{at}")
}

pub fn secret_number(name: &str) -> u8 {
    name.strip_prefix("token-").unwrap().parse().unwrap()
}

pub fn annotation(value: u8) -> Option<String> {
    (value > 0).then(|| value.to_string())
}

pub fn annotation_number(value: Option<&String>) -> u8 {
    value.map_or(0, |v| v.parse().unwrap())
}

pub fn username(n: Nonce) -> String {
    Marker::new(INSTANCE, UID, &nonce(n)).name("ci")
}
