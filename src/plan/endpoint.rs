//! Which URLs the admin credential may be sent to, and how often.

use std::net::IpAddr;

use super::Refusal;
use crate::api::{Endpoint, Limits};
use crate::platform::client;

/// Clear text is allowed only where nobody else listens: loopback, private addresses, Services of the cluster.
pub fn check_endpoint(endpoint: &Endpoint) -> Result<(), Refusal> {
    let refuse = |message: &str| {
        Err(Refusal::new(
            "InvalidEndpoint",
            format!("endpoint.url {}: {message}", endpoint.url),
        ))
    };
    let Some((scheme, rest)) = endpoint.url.split_once("://") else {
        return refuse("write it as https://HOST or https://HOST:PORT");
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return refuse("give scheme, host and port only");
    }
    match scheme {
        "https" => Ok(()),
        "http" if !endpoint.insecure => refuse(
            "the admin credential must not travel in clear text: use https://, or set insecure: true for a platform on loopback or inside the cluster",
        ),
        "http" if is_near(host(authority)) => Ok(()),
        "http" => refuse(
            "insecure: true is for loopback, private addresses and Services of the cluster (NAME.NAMESPACE.svc) only: use https://",
        ),
        _ => refuse("use https://"),
    }
}

/// Limits as an Organization has them; the API server lets nothing below 1 through.
#[must_use]
pub fn limits(wanted: &Limits) -> client::Limits {
    let usual = client::Limits::default();
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let count = |n: Option<i32>| number(n).and_then(|n| usize::try_from(n).ok());
    client::Limits {
        requests_per_minute: number(wanted.requests_per_minute).unwrap_or(usual.requests_per_minute),
        max_in_flight: count(wanted.max_in_flight).unwrap_or(usual.max_in_flight),
        creates_per_hour: count(wanted.creates_per_hour).unwrap_or(usual.creates_per_hour),
    }
}

fn host(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a domain, not a file"
)]
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost" || host.ends_with(".svc") || host.ends_with(".svc.cluster.local"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, check_endpoint};

    fn verdict(url: &str, insecure: bool) -> bool {
        check_endpoint(&Endpoint {
            url: url.to_owned(),
            ca_bundle: None,
            timeout: None,
            insecure,
        })
        .is_ok()
    }

    #[test]
    fn clear_text_stays_near() {
        for url in [
            "http://127.0.0.1:8700",
            "http://localhost:1/",
            "http://[::1]:80",
            "http://10.1.2.3",
            "http://p.ns.svc:80",
        ] {
            assert!(verdict(url, true), "{url}");
            assert!(!verdict(url, false), "{url}");
        }
        for url in [
            "http://api.spotinst.io",
            "http://8.8.8.8",
            "http://svc",
            "http://x.svc.evil.io",
        ] {
            assert!(!verdict(url, true), "{url}");
        }
    }

    #[test]
    fn tls_goes_anywhere_but_plainly() {
        assert!(verdict("https://api.spotinst.io", false));
        for url in [
            "https://user:pw@host",
            "https://host/path",
            "https://",
            "ftp://host",
            "host",
        ] {
            assert!(!verdict(url, true), "{url}");
        }
    }
}
