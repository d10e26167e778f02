//! What the operator reads back of its own: names on the platform, and the journal in the status.

use programmatic_users::api::{Journal, ProgrammaticUser};
use programmatic_users::plan::{
    INSTANCE_LEN, Marker, NONCE_LEN, base32, checksum_matches, is_instance, set_checksum,
};
use programmatic_users::platform::Token;
use serde_json::{Value, json};

use super::{first_line, text};

const INSTANCE: &str = "abcdef";

/// A name on the platform. What is taken for a marker is written as it was read.
pub fn marker(data: &[u8]) {
    let name = text(data);
    let Some(marker) = Marker::parse(&name) else {
        return;
    };
    assert!(is_instance(&marker.instance) && marker.nonce.len() == NONCE_LEN);
    let (shown, _) = name.rsplit_once("/k8s.").expect("it has a marker");
    let written = marker.name(shown);
    assert!(name.starts_with(shown) && written.len() <= 64, "{written}");
    assert_eq!(Marker::parse(&written), Some(marker), "{name}");
}

/// Lines: the UID of an object, and its display name. Its marker is read from any name that is made of them.
pub fn name(data: &[u8]) {
    let (uid, shown) = first_line(data);
    let shown = text(shown);
    let nonce = base32(&[uid.as_bytes(), &[7; 10]].concat(), NONCE_LEN);
    let instance = base32(&[shown.as_bytes(), &[3; 4]].concat(), INSTANCE_LEN);
    let marker = Marker::new(&instance, &uid, &nonce);
    let name = marker.name(&shown);
    assert!(name.len() <= 64, "{name}");
    assert_eq!(Marker::parse(&name), Some(marker), "{name}");
    if let Some(token) = Token::new(&shown) {
        assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(shown.trim(), token.expose());
        assert!(token.last_digits().len() <= 4 && token.expose().ends_with(token.last_digits()));
    }
}

/// The JSON of a status. Sealed, it is intact, after a trip through the API server too; changed, or of another object or
/// installation, it is not.
pub fn journal(data: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let object = |uid: &str, status: &Value| {
        let object = json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {"name": "ci", "uid": uid},
            "spec": {"className": "editors", "scope": "Account"}, "status": status,
        });
        serde_json::from_value::<ProgrammaticUser>(object).ok()
    };
    let Some(mut user) = object("uid-1", &status) else {
        return;
    };
    let Some(mut status) = user.status.take() else {
        return;
    };
    set_checksum(INSTANCE, &user, &mut status);
    let written = serde_json::to_value(&status).expect("a status has a JSON form");
    let read = object("uid-1", &written).expect("what is written is read");
    assert_eq!(read.status.as_ref(), Some(&status));
    assert!(checksum_matches(INSTANCE, &read));
    if status.journal == Journal::default() {
        return;
    }
    assert!(!checksum_matches("bcdefg", &read), "another installation");
    assert!(
        !checksum_matches(INSTANCE, &object("uid-2", &written).expect("an object")),
        "another object"
    );
    let mut changed = read;
    if let Some(status) = &mut changed.status {
        let id = status.user_id.take();
        status.user_id = Some(format!("{}x", id.unwrap_or_default()));
    }
    assert!(!checksum_matches(INSTANCE, &changed), "another user");
}
