//! Random values, hashes and comparisons.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Error;

/// A console password in memory: neither printable nor cloneable, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Takes a password as it is, white space included.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for hashing and for the one line that prints a generated one.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Bytes of the operating system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::Randomness)?;
    Ok(bytes)
}

/// Lower-case hexadecimal digits of `N` random bytes.
pub(super) fn random_hex<const N: usize>() -> Result<String, Error> {
    Ok(hex(&random::<N>()?))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(super) fn uuid() -> Result<String, Error> {
    let mut b = random::<16>()?;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let h = hex(&b);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    ))
}

/// What is stored of a token or session: enough for 256 random bits, which cannot be guessed or searched.
pub(super) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in constant time.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Argon2id with the crate's parameters (19 MiB, 2 passes). Slow on purpose: call it off the async threads.
pub(super) fn hash_password(password: &str) -> Result<String, Error> {
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(|_| Error::PasswordHash)?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|_| Error::PasswordHash)?;
    Ok(hash.to_string())
}

/// The hash that an unknown address is compared with.
static UNKNOWN_USER: LazyLock<String> = LazyLock::new(|| hash_password("unknown user").unwrap_or_default());

/// Computes that hash before the first request: the time of its answer would show that the address is unknown.
pub(super) fn prepare() {
    LazyLock::force(&UNKNOWN_USER);
}

/// Checks a password. Without a hash it takes as long as with one, so that the time does not show unknown addresses.
pub(super) fn password_matches(password: &str, hash: Option<&str>) -> bool {
    let parsed = PasswordHash::new(hash.unwrap_or(&UNKNOWN_USER));
    let right = parsed.is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok());
    right && hash.is_some()
}

/// Cuts out text that could be a token: tokens pasted into paths and agents must not reach log or audit.
pub(super) fn redact(text: &str) -> String {
    const LONGEST: usize = 31;
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        // What is escaped is what it stands for.
        if c.is_ascii_alphanumeric() || c == '%' {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() > LONGEST { "[redacted]" } else { &run });
        run.clear();
        if !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{hash_password, password_matches, redact};

    #[test]
    fn long_runs_are_cut() {
        assert_eq!(redact("/setup/user/pu-0123abcd"), "/setup/user/pu-0123abcd");
        let token = "ab".repeat(32);
        assert_eq!(
            redact(&format!("/setup/user/{token}?x={token}")),
            "/setup/user/[redacted]?x=[redacted]"
        );
        assert_eq!(
            redact(&format!("/{}/a%20b", "%61%62".repeat(32))),
            "/[redacted]/a%20b"
        );
    }

    #[test]
    fn passwords() {
        let hash = hash_password("correct horse").unwrap_or_default();
        assert!(hash.starts_with("$argon2id$"));
        assert!(password_matches("correct horse", Some(&hash)));
        assert!(!password_matches("wrong horse", Some(&hash)));
        assert!(!password_matches("unknown user", None));
    }
}
